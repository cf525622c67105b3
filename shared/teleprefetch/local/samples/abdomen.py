"""The abdomen in HU, from the diaphragm to the iliac crests."""

import math

import numpy as np

from teleprefetch.local.samples.solids import Point, Solid, beads
from teleprefetch.local.samples.tissues import CORTEX, FAT, GAS, MUSCLE


def peritoneum() -> list[Solid]:
    """The fat below the diaphragm and the iliac wings."""
    return [
        Solid((0, -6, -190), (142, 82, 190), -105, MUSCLE, 2.4),
        Solid((72, 4, -75), (70, 80, 92), -70, -700, 2.2),
        *(Solid((side * 108, 30, -305), (12, 58, 80), CORTEX - 150, MUSCLE) for side in (-1, 1)),
    ]


def organs(*, enhanced: bool) -> list[Solid]:
    """Liver, gall bladder, spleen, stomach, kidneys, pancreas and psoas."""
    liver, spleen, kidney = (112.0, 122.0, 185.0) if enhanced else (58.0, 50.0, 32.0)
    return [
        Solid((-66, 0, -62), (84, 84, 102), liver, -500, 2.2),
        Solid((10, -38, -48), (62, 42, 44), liver, FAT),
        *(
            solid
            for number, reach in enumerate(((-70, -30), (-95, 15), (-60, 35), (-20, -48)))
            for solid in beads(
                _line((-22, 22, -28), (*reach, -70 - 12 * number), every_mm=6),
                radius=4.5,
                value=liver + 45,
                instead_of=liver,
                part=f"hepatic vein {number}",
            )
        ),
        Solid((-40, -58, -122), (15, 20, 24), 8, liver),
        Solid((98, 38, -62), (34, 46, 58), spleen, FAT),
        Solid((58, -30, -62), (46, 40, 50), 48, FAT),
        Solid((58, -28, -62), (41, 35, 45), 15, 48),
        Solid((58, -48, -54), (32, 16, 32), -920, 15),
        *(solid for side in (-1, 1) for solid in _kidney(side, kidney)),
        *beads(
            ((x, -2 + 0.002 * x * x, -95 - 0.2 * x) for x in range(-45, 75, 8)),
            radius=12,
            value=95 if enhanced else 40,
            instead_of=FAT,
            part="pancreas",
        ),
        *(
            Solid((side * 40, 58, -200), (21, 23, 130), MUSCLE + 6, FAT, part=f"psoas {side}")
            for side in (-1, 1)
        ),
    ]


def _kidney(side: int, value: float) -> list[Solid]:
    x, z = side * 64.0, -128.0 + side * 8
    return [
        Solid((x, 42, z), (37, 34, 66), FAT, MUSCLE),
        Solid((x, 42, z), (27, 25, 54), value, FAT),
        Solid((x - side * 14, 36, z), (15, 12, 24), -60, value),
    ]


def _line(start: Point, end: Point, *, every_mm: float) -> list[Point]:
    steps = max(2, int(math.dist(start, end) / every_mm))
    return [
        (
            start[0] + (end[0] - start[0]) * t,
            start[1] + (end[1] - start[1]) * t,
            start[2] + (end[2] - start[2]) * t,
        )
        for t in np.linspace(0, 1, steps)
    ]


def bowel(random: np.random.Generator) -> list[Solid]:
    """Loops of bowel, some with gas; the organs are painted over them."""
    loops: list[Solid] = []
    for number in range(150):
        x, y = random.uniform(-105, 105), random.uniform(-66, 22)
        z = random.uniform(-350, -118)
        r = random.uniform(11, 19)
        inside = float(random.choice((22.0, 22.0, 30.0, GAS)))
        part = f"loop {number}"
        loops.append(Solid((x, y, z), (r, r * 0.85, r * 1.7), 55, FAT, part=part))
        loops.append(
            Solid((x, y, z), (r - 2.5, r * 0.85 - 2.5, r * 1.5), inside, 55, part=part + " lumen")
        )
    return loops
