"""The torso of the made-up patient, in HU: thorax above z = 0, abdomen below."""

import math
from dataclasses import replace

import numpy as np

from teleprefetch.local.samples.abdomen import bowel, organs, peritoneum
from teleprefetch.local.samples.lungs import lungs
from teleprefetch.local.samples.skeleton import cage, spine
from teleprefetch.local.samples.solids import Anatomy, Point, Solid, beads
from teleprefetch.local.samples.tissues import GAS, MUSCLE

_TRUNK = Solid((0, 2, 0), (182, 120, 1500), -95, -1000, 2.5)


def torso(*, seed: int, enhanced: bool) -> Anatomy:
    """The patient from the neck to the iliac crests; `enhanced` is after contrast medium."""
    random = np.random.default_rng(seed)
    return Anatomy.of(
        [
            *_trunk(),
            *lungs(random, blood=150.0 if enhanced else 45.0),
            *peritoneum(),
            *bowel(random),
            *organs(enhanced=enhanced),
            *_mediastinum(blood=190.0 if enhanced else 42.0),
            *spine(),
            *cage(),
        ]
    )


def outline() -> Anatomy:
    """The trunk alone, filled with 1."""
    return Anatomy.of([replace(_TRUNK, value=1.0)])


def _trunk() -> list[Solid]:
    solids = [_TRUNK]
    solids += [Solid((side * 122, 25, 282), (78, 72, 92), -95, -1000, 2.2) for side in (-1, 1)]
    solids.append(Solid((0, 4, 0), (164, 103, 1500), MUSCLE, -95, 2.5))
    solids += [Solid((side * 122, 25, 282), (66, 60, 88), MUSCLE, -95, 2.2) for side in (-1, 1)]
    solids.append(Solid((0, 0, 60), (22, 72, 190), -80, MUSCLE, 2.4))
    return solids


def _mediastinum(*, blood: float) -> list[Solid]:
    aorta: list[Point] = [(24, 40, z) for z in range(-330, 150, 8)]
    arch = [
        (6 + 17 * math.sin(a), 10 - 34 * math.cos(a), 148 + 26 * math.sin(a))
        for a in np.linspace(0, math.pi, 14)
    ]
    trachea: list[Point] = [(0, 14, z) for z in range(128, 330, 5)]
    bronchi: list[Point] = [
        (side * 3.4 * k, 14, 128 - 3.0 * k) for side in (-1, 1) for k in range(11)
    ]
    tubes = (
        (aorta, 12.5, blood * 1.1, "descending aorta"),
        ([(6, -24, z) for z in range(92, 150, 7)], 15.5, blood * 1.1, "ascending aorta"),
        (arch, 13.0, blood * 1.1, "arch"),
        ([(-27, -14, z) for z in range(70, 240, 6)], 9.0, blood * 1.3, "superior vena cava"),
        ([(-24, 32, z) for z in range(-330, 30, 7)], 11.0, blood * 0.8, "inferior vena cava"),
        ([(x, 2 - 0.006 * x * x, 112) for x in range(-42, 46, 7)], 11.0, blood, "pulmonary artery"),
    )
    return [
        *_heart(blood),
        *(
            solid
            for points, radius, value, part in tubes
            for solid in beads(points, radius=radius, value=value, instead_of=-40, part=part)
        ),
        *beads(
            [(8, 32, z) for z in range(0, 300, 6)],
            radius=7,
            value=35,
            instead_of=-60,
            part="oesophagus",
        ),
        *beads(trachea, radius=10, value=40, instead_of=-60, part="tracheal wall"),
        *beads(trachea, radius=8.5, value=GAS, instead_of=MUSCLE, part="trachea"),
        *beads(bronchi, radius=6, value=GAS, instead_of=MUSCLE, part="bronchi"),
    ]


def _heart(blood: float) -> list[Solid]:
    return [
        Solid((22, -26, 44), (68, 56, 68), -75, -500, 2.2),
        Solid((22, -26, 44), (62, 50, 62), 50 + blood * 0.2, -75, 2.1),
        Solid((46, -14, 36), (26, 27, 40), blood, 50),
        Solid((6, -48, 42), (36, 19, 40), blood * 0.9, 50),
        Solid((14, 10, 72), (34, 18, 24), blood, 50),
        Solid((-22, -20, 52), (22, 27, 32), blood * 0.9, 50),
    ]
