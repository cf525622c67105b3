"""The bones of the trunk in HU."""

import math
from itertools import product

import numpy as np

from teleprefetch.local.samples.solids import Point, Solid, beads, evenly
from teleprefetch.local.samples.tissues import CARTILAGE, CORTEX, MARROW, MUSCLE


def spine() -> list[Solid]:
    """The vertebrae, their discs and the cord."""
    solids = [Solid((0, 62, 0), (17, 13, 900), 85, MUSCLE, 2.5)]
    for level, z in enumerate(range(-330, 330, 26)):
        grown = 1.15 if z < 0 else 1.0 - z / 1200
        solids += [
            Solid(
                (0, 62, z), (20 * grown, 16 * grown, 11.5), CORTEX - 120, 85, 3.0, f"body {level}"
            ),
            Solid(
                (0, 62, z),
                (17.5 * grown, 13.5 * grown, 9.5),
                MARROW,
                CORTEX,
                2.8,
                f"marrow {level}",
            ),
            Solid((0, 84, z), (17, 13, 9), CORTEX - 60, MUSCLE, part=f"arch {level}"),
            Solid((-26, 84, z), (17, 5, 5), CORTEX - 180, MUSCLE, part=f"arch {level}"),
            Solid((26, 84, z), (17, 5, 5), CORTEX - 180, MUSCLE, part=f"arch {level}"),
            Solid((0, 98, z - 8), (3.5, 15, 8), CORTEX - 160, MUSCLE, part=f"arch {level}"),
        ]
    solids.append(Solid((0, 82, 0), (10, 9, 900), 18, MUSCLE, 2.4))
    solids.append(Solid((0, 82, 0), (5.5, 4.5, 900), 42, 18))
    return solids


def cage() -> list[Solid]:
    """Ribs, clavicles, shoulder blades and breastbone."""
    solids: list[Solid] = []
    for level, side in product(range(11), (-1, 1)):
        solids += _rib(level, side)
    for side in (-1, 1):
        clavicle: list[Point] = [
            (side * (18 + 9.5 * k), -84 + 5.2 * k + 8 * math.sin(k / 2), 236 + 2.2 * k)
            for k in range(15)
        ]
        solids += _bone(evenly(clavicle, every_mm=5), 6.5, f"clavicle {side}")
        blade: list[Point] = [
            (side * (62 + t * (z - 95) / 2), 100 - 0.19 * t * (z - 95), float(z))
            for z in range(125, 242, 6)
            for t in np.linspace(0, 1, 12)
        ]
        part = f"scapula {side}"
        solids += beads(blade, radius=4, value=CORTEX - 250, instead_of=MUSCLE, part=part)
    sternum = (0.0, -95.0, 130.0)
    solids.append(Solid(sternum, (19, 7.5, 88), CORTEX - 220, MUSCLE, 2.6))
    solids.append(Solid(sternum, (16.5, 5, 85), MARROW - 60, CORTEX, 2.6))
    return solids


def _rib(level: int, side: int) -> list[Solid]:
    z = 256.0 - 26.0 * level
    width = 12 + 134.0 * min(1.0, 0.66 + 0.1 * level)
    length = 0.9 if level < 7 else 0.9 - 0.14 * (level - 6)
    path = [
        (
            side * (20 * (1 - t) ** 4 + width * math.sin(math.pi * t) ** 0.75),
            4 + 86 * math.cos(math.pi * t),
            z - 78 * t + 14 * math.sin(math.pi * t),
        )
        for t in np.linspace(0.01, length, 200)
    ]
    path = evenly(path, every_mm=5.5)
    bony = int(len(path) * 0.84) if level < 9 else len(path)
    part = f"rib {level} {side}"
    cartilage = beads(
        path[bony:], radius=5.5, value=CARTILAGE, instead_of=MUSCLE, part=f"cartilage of {part}"
    )
    return [*_bone(path[:bony], 6.0, part), *cartilage]


def _bone(path: list[Point], radius: float, part: str) -> list[Solid]:
    return [
        *beads(path, radius=radius, value=CORTEX, instead_of=MUSCLE, part=part),
        *beads(
            path, radius=radius - 2.2, value=MARROW, instead_of=CORTEX, part=f"marrow of {part}"
        ),
    ]
