"""A knee of the made-up patient, in HU; x runs to the outer side of a left knee."""

import numpy as np

from teleprefetch.local.samples.solids import Anatomy, Point, Solid, beads

FLESH, CORTEX, MARROW = 50.0, 950.0, 330.0


def knee(*, side: int) -> Anatomy:
    """The knee from mid thigh to mid calf; `side` is 1 for the left one, -1 for the right one."""
    return Anatomy.of(
        [
            Solid((0, 6, 90), (66, 68, 260), -95, -1000, 2.2),
            Solid((0, 8, 90), (54, 56, 250), FLESH, -95, 2.2),
            Solid((0, 16, -100), (58, 62, 170), -95, -1000, 2.2),
            Solid((4 * side, 20, -110), (49, 52, 165), FLESH, -95, 2.2),
            *_femur(side),
            *_shin(side),
            *_rounded((4.0 * side, -44, 26), (21, 10.5, 22), "patella"),
        ]
    )


def _femur(side: int) -> list[Solid]:
    shaft: list[Point] = [(side * 0.06 * (z - 30), 0.0, float(z)) for z in range(44, 190, 5)]
    flare: list[Point] = [
        (side * reach * t, 2.0 * t, 66 - 42 * t)
        for reach in (-24, -12, 0, 12, 24)
        for t in np.linspace(0, 1, 10)
    ]
    return [
        *_tube(shaft, outer=15.0, inner=8.5, part="femur"),
        *_tube(flare, outer=15.0, inner=13.4, part="femur"),
        *_rounded((-25.0 * side, 8, 19), (20, 30, 19), "femur"),
        *_rounded((25.0 * side, 6, 20), (19, 30, 18), "femur"),
    ]


def _shin(side: int) -> list[Solid]:
    shaft: list[Point] = [(-side * 2.0, 2 + 0.02 * z, float(z)) for z in range(-190, -40, 5)]
    flare: list[Point] = [
        (side * reach * t - 2 * side, 1 + 3.0 * t, -66 + 42 * t)
        for reach in (-27, -14, 0, 14, 27)
        for t in np.linspace(0, 1, 10)
    ]
    fibula: list[Point] = [(side * (34 - 0.03 * z), 27, float(z)) for z in range(-190, -34, 4)]
    return [
        *_tube(fibula, outer=6.5, inner=3.2, part="fibula"),
        *_rounded((34.0 * side, 25, -32), (9, 10, 11), "fibula"),
        *_tube(shaft, outer=14.0, inner=7.5, part="tibia"),
        *_tube(flare, outer=13.5, inner=12.0, part="tibia"),
        *_rounded((-22.0 * side, 5, -15), (21, 26, 9.5), "tibia"),
        *_rounded((22.0 * side, 5, -15), (20, 25, 9.5), "tibia"),
        *_rounded((0, 5, -17), (26, 24, 10), "tibia"),
        *_rounded((-4.0 * side, 4, -8), (5, 8, 6), "tibia"),
        *_rounded((-3.0 * side, -10, -42), (11, 10, 18), "tibia"),
    ]


def _tube(path: list[Point], *, outer: float, inner: float, part: str) -> list[Solid]:
    return [
        *beads(path, radius=outer, value=CORTEX, instead_of=FLESH, part=part),
        *beads(path, radius=inner, value=MARROW, instead_of=CORTEX, part=f"marrow of {part}"),
    ]


def _rounded(centre: Point, radii: Point, part: str) -> list[Solid]:
    inner = (radii[0] - 1.6, radii[1] - 1.6, radii[2] - 1.6)
    return [
        Solid(centre, radii, CORTEX, FLESH, 2.4, part),
        Solid(centre, inner, MARROW, CORTEX, 2.4, f"marrow of {part}"),
    ]
