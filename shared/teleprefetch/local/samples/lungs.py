"""The lungs in HU: their air, their vessels and the nodule that is followed up."""

import numpy as np
from numpy.typing import NDArray

from teleprefetch.local.samples.solids import Solid
from teleprefetch.local.samples.tissues import LUNG, MUSCLE

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def lungs(random: np.random.Generator, *, blood: float) -> list[Solid]:
    """Both lungs with the trees of their vessels, which hold `blood`."""
    right = Solid((-73, 4, 76), (62, 84, 160), LUNG, MUSCLE, 2.25)
    left = Solid((75, 6, 78), (58, 82, 158), LUNG, MUSCLE, 2.25)
    vessels: list[Solid] = []
    for side, lung in ((-1, right), (1, left)):
        for number, tip in enumerate(_tips(random, lung, count=22, nearest=0.5)):
            part = f"vessel {side} {number}"
            hilum = np.array((side * 34.0, 8.0, 108.0)) + random.normal(0, 8, 3)
            bend = hilum + (tip - hilum) * 0.5 + random.normal(0, 9, 3)
            vessels += _tapering((hilum, bend, tip), (4.2, 1.3), blood, part)
            for twig in _tips(random, lung, count=9, nearest=0.75):
                fork = _along((hilum, bend, tip), random.uniform(0.35, 0.95, 1))[0]
                end = fork + (twig - fork) * min(1.0, 60 / float(np.linalg.norm(twig - fork)))
                knee = (fork + end) / 2 + random.normal(0, 5, 3)
                vessels += _tapering((fork, knee, end), (1.7, 0.8), blood, part)
    return [right, left, *vessels]


def _tips(
    random: np.random.Generator, lung: Solid, *, count: int, nearest: float
) -> NDArray[np.float64]:
    direction = random.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    reach = random.uniform(nearest, 0.95, (count, 1)) * np.array(lung.radii)
    return np.asarray(np.array(lung.centre) + direction * reach)


def _along(curve: Curve, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points of a quadratic Bézier curve, one row each."""
    start, bend, end = curve
    weights = np.stack(((1 - t) ** 2, 2 * t * (1 - t), t**2), axis=1)
    return np.asarray(weights @ np.stack((start, bend, end)))


def _tapering(curve: Curve, radii: tuple[float, float], value: float, part: str) -> list[Solid]:
    steps = max(5, int(np.linalg.norm(curve[2] - curve[0]) / (0.6 * sum(radii))))
    t = np.linspace(0, 1, steps)
    widths = (radii[0] + (radii[1] - radii[0]) * np.sqrt(t)).tolist()
    return [
        Solid((x, y, z), (width, width, 1.3 * width), value, LUNG, part=part)
        for (x, y, z), width in zip(_along(curve, t).tolist(), widths, strict=True)
    ]


def nodule(*, diameter_mm: float) -> list[Solid]:
    """A solid nodule in the right upper lobe with a few spicules: what the priors are about."""
    radius = diameter_mm / 2
    x, y, z = -78.0, -32.0, 168.0
    core = Solid((x, y, z), (radius, radius * 0.9, radius), 45, LUNG, part="nodule")
    spicules = [
        Solid((x + dx * radius, y + dy * radius, z), (radius * 0.5,) * 3, 0, LUNG, part="nodule")
        for dx, dy in ((0.9, 0.5), (-0.8, 0.6), (0.2, -1.0), (-0.7, -0.6))
    ]
    return [*spicules, core]
