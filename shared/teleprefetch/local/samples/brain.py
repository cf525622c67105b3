"""The head of the made-up patient as a T2-weighted MR shows it, in arbitrary units."""

import numpy as np

from teleprefetch.local.samples.solids import Anatomy, Grid, Plane, Solid

SKIN, BONE, FLUID, GREY, WHITE, NUCLEI = 620.0, 70.0, 1350.0, 760.0, 520.0, 600.0


def head() -> Anatomy:
    """The head from the skull base to the vertex."""
    return Anatomy.of(
        [
            _solid((0, 0, -10), (78, 98, 105), SKIN),
            _solid((0, 0, -10), (72, 91, 99), BONE),
            _solid((0, 0, -2), (66, 85, 83), FLUID),
            _solid((0, 0, -3), (64.5, 83.5, 81.5), GREY),
            *(_solid((side * 30, 0, 4), (30, 74, 64), WHITE) for side in (-1, 1)),
            _solid((0, -12, 2), (26, 34, 40), WHITE),
            _solid((0, 0, 0), (1.3, 84, 90), FLUID),
            _solid((0, -4, 6), (17, 40, 26), WHITE),
            *(_solid((side * 20, -2, 0), (10, 16, 14), NUCLEI) for side in (-1, 1)),
            *(_solid((side * 11, 14, 0), (9, 13, 12), NUCLEI) for side in (-1, 1)),
            *(_solid((side * 9, -22, 12), (5.5, 17, 14), FLUID) for side in (-1, 1)),
            *(_solid((side * 15, 24, 12), (6, 18, 14), FLUID) for side in (-1, 1)),
            _solid((0, 4, 0), (2.2, 12, 12), FLUID),
            *(_solid((side * 30, -62, -62), (12, 12, 12), FLUID) for side in (-1, 1)),
            _solid((0, 46, -56), (46, 30, 24), GREY),
            _solid((0, 14, -50), (15, 14, 34), WHITE),
            _solid((0, 28, -52), (7, 6, 12), FLUID),
        ]
    )


def with_sulci(plane: Plane, grid: Grid, *, at_mm: float, folds: tuple[Plane, Plane]) -> Plane:
    """The slice with fluid in the folds of its cortex.

    `folds` are two smooth fields; the folds run where their mixture, which turns slowly from
    slice to slice, is near nought.
    """
    turn = at_mm / 14
    mixture = folds[0] * np.float32(np.cos(turn)) + folds[1] * np.float32(np.sin(turn))
    x = grid.first_column_mm + grid.spacing_mm * np.arange(grid.columns, dtype=np.float32)
    y = grid.first_row_mm + grid.spacing_mm * np.arange(grid.rows, dtype=np.float32)
    shrink = max(1 - (at_mm + 3) ** 2 / 81.5**2, 0.01) ** 0.5
    depth = np.sqrt((y[:, None] / (83.5 * shrink)) ** 2 + (x / (64.5 * shrink)) ** 2)
    cortex = np.clip((depth - 0.62) / 0.25, 0, 1) * (depth < 1.01)
    line = np.exp(-((mixture / 0.16) ** 2)) * cortex
    ribbon = np.exp(-((mixture / 0.55) ** 2)) * cortex
    folded = plane + (GREY - plane) * ribbon * (plane < GREY)
    return np.asarray(folded + (FLUID - folded) * line * 0.8, dtype=np.float32)


def _solid(
    centre: tuple[float, float, float], radii: tuple[float, float, float], value: float
) -> Solid:
    return Solid(centre, radii, value, 0)
