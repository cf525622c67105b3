"""Anatomy as a list of ellipsoids: cut by a plane for CT and MR, looked through for radiographs.

Coordinates are the patient's, in mm (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to the
head. Solids are painted in order: a later one replaces what lies beneath it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Point = tuple[float, float, float]
Patch = tuple[tuple[slice, slice], Plane]


@dataclass(frozen=True, slots=True)
class Solid:
    """An ellipsoid, or for `power` above 2 a boxier body, filled with one value.

    `instead_of` is the value that it replaces for the most part, which is what a radiograph sees.
    Solids with one `part` overlap without adding up, as the beads of a rib do.
    """

    centre: Point
    radii: Point
    value: float
    instead_of: float
    power: float = 2.0
    part: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """The picture: its pixel size in mm, its matrix, and the mm of its first pixel's centre.

    Rows run along `row_sign` times the vertical axis: axial pictures run to the back, the others
    to the feet.
    """

    spacing_mm: float
    rows: int
    columns: int
    first_column_mm: float
    first_row_mm: float
    row_sign: int = 1

    def coarser(self, times: int) -> Self:
        """The same field with pixels that many times as large."""
        shift = self.spacing_mm * (times - 1) / 2
        return replace(
            self,
            spacing_mm=self.spacing_mm * times,
            rows=self.rows // times,
            columns=self.columns // times,
            first_column_mm=self.first_column_mm + shift,
            first_row_mm=self.first_row_mm + self.row_sign * shift,
        )


def beads(
    points: Iterable[Point],
    *,
    radius: float,
    value: float,
    instead_of: float,
    part: str,
) -> list[Solid]:
    """A tube along the points: a rib, a vessel, a shaft."""
    radii = (radius, radius, radius)
    return [Solid(point, radii, value, instead_of, part=part) for point in points]


def evenly(path: Sequence[Point], *, every_mm: float) -> list[Point]:
    """The path's points again, at even distances along it."""
    points = np.array(path)
    travelled = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    stops = np.arange(0, travelled[-1], every_mm)
    x, y, z = (np.interp(stops, travelled, points[:, axis]).tolist() for axis in range(3))
    return list(zip(x, y, z, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Solids, and their places as arrays, so that those a plane meets are found at once."""

    solids: tuple[Solid, ...]
    centres: NDArray[np.float64]
    radii: NDArray[np.float64]

    @classmethod
    def of(cls, solids: Iterable[Solid]) -> Self:
        """The anatomy made of solids, in the order they are painted."""
        kept = tuple(solids)
        centres = np.array([solid.centre for solid in kept])
        return cls(kept, centres, np.array([solid.radii for solid in kept]))

    def with_solids(self, solids: Iterable[Solid]) -> "Anatomy":
        """The same anatomy with more in it, painted last."""
        added = Anatomy.of(solids)
        return Anatomy(
            self.solids + added.solids,
            np.concatenate((self.centres, added.centres)),
            np.concatenate((self.radii, added.radii)),
        )

    def cut(self, grid: Grid, *, axis: int, at_mm: float, outside: float) -> Plane:
        """The values in the plane across `axis` at `at_mm`."""
        across, down = _in_plane(axis)
        plane = np.full((grid.rows, grid.columns), outside, np.float32)
        height = np.abs(at_mm - self.centres[:, axis]) / self.radii[:, axis]
        for index in np.flatnonzero(height < 1):
            solid = self.solids[index]
            shrink = (1 - height[index] ** solid.power) ** (1 / solid.power)
            radii = (solid.radii[across] * shrink, solid.radii[down] * shrink)
            patch = _patch(grid, (solid.centre[across], solid.centre[down]), radii, solid.power)
            if patch is not None:
                where, distance = patch
                sharpness = min(radii) / grid.spacing_mm
                cover = np.clip((1 - distance) * sharpness + 0.5, 0, 1)
                beneath = plane[where]
                beneath += (solid.value - beneath) * cover
        return plane

    def look_through(self, grid: Grid, *, axis: int) -> Plane:
        """The water, in mm, that a ray along `axis` passes; values are taken as HU.

        Solids of no part are big: they are summed up plane by plane, so that each displaces what
        it replaces. Parts are small: each adds what its chord weighs more than its surroundings,
        and a part thinner than two pixels is not seen.
        """
        total = self._bulk(grid.coarser(4), axis=axis)
        total = doubled(doubled(total))
        layer = np.zeros_like(total)
        for solids in _by_part(self.solids):
            layer.fill(0)
            for solid in solids:
                if min(solid.radii) > 1.2 * grid.spacing_mm:
                    _add_chord(layer, grid, solid, axis=axis)
            total += layer * (_opacity(solids[0].value) - _opacity(solids[0].instead_of))
        return total

    def _bulk(self, grid: Grid, *, axis: int) -> Plane:
        bulk = Anatomy.of(solid for solid in self.solids if not solid.part)
        reach = (np.abs(bulk.centres) + bulk.radii)[:, axis].max()
        depths = np.linspace(-reach, reach, 48)
        total = np.zeros((grid.rows, grid.columns), np.float32)
        for depth in depths:
            total += 1 + bulk.cut(grid, axis=axis, at_mm=depth, outside=-1000) / 1000
        return total * np.float32(depths[1] - depths[0])


def doubled(plane: Plane) -> Plane:
    """The picture with twice the rows and columns, linear in between."""
    for _ in range(2):
        between = plane.copy()
        between[:-1] += plane[1:]
        between[:-1] /= 2
        twice = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
        twice[::2], twice[1::2] = plane, between
        plane = twice.T
    return plane


def _add_chord(layer: Plane, grid: Grid, solid: Solid, *, axis: int) -> None:
    across, down = _in_plane(axis)
    centre = (solid.centre[across], solid.centre[down])
    radii = (solid.radii[across], solid.radii[down])
    patch = _patch(grid, centre, radii, solid.power)
    if patch is not None:
        where, distance = patch
        inside = np.maximum(1 - distance**solid.power, 0) ** (1 / solid.power)
        np.maximum(layer[where], 2 * solid.radii[axis] * inside, out=layer[where])


def _opacity(hounsfield: float) -> float:
    # Calcium stops the softer rays of a radiograph better than those of a CT.
    return 1 + (hounsfield + 1.2 * max(hounsfield - 150, 0)) / 1000


def _by_part(solids: Iterable[Solid]) -> list[list[Solid]]:
    parts: dict[str, list[Solid]] = {}
    for solid in solids:
        if solid.part:
            parts.setdefault(solid.part, []).append(solid)
    return list(parts.values())


def _in_plane(axis: int) -> tuple[int, int]:
    return {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]


def _patch(
    grid: Grid, centre: tuple[float, float], radii: tuple[float, float], power: float
) -> Patch | None:
    """Where an ellipse lies in the picture, and how far out each pixel there is (1 is its edge)."""
    step = grid.spacing_mm
    column = (centre[0] - grid.first_column_mm) / step
    row = (centre[1] - grid.first_row_mm) * grid.row_sign / step
    half_columns, half_rows = radii[0] / step, radii[1] / step
    left, right = max(int(column - half_columns), 0), int(column + half_columns) + 2
    top, bottom = max(int(row - half_rows), 0), int(row + half_rows) + 2
    right, bottom = min(right, grid.columns), min(bottom, grid.rows)
    if left >= right or top >= bottom or min(half_columns, half_rows) < 0.2:
        return None
    x = np.abs(np.arange(left, right, dtype=np.float32) - column) / half_columns
    y = np.abs(np.arange(top, bottom, dtype=np.float32) - row) / half_rows
    if power == 2:
        distance = np.sqrt((y * y)[:, None] + x * x)
    else:
        distance = ((y**power)[:, None] + x**power) ** (1 / power)
    return (slice(top, bottom), slice(left, right)), distance.astype(np.float32, copy=False)
