"""Noise as scanners have it."""

import numpy as np

from teleprefetch.local.samples.solids import Plane


class Noise:
    """One field of noise, periodic at both edges; each picture takes it from another place.

    `smooth` 0 is white noise; each step smears it over one pixel more, as a reconstruction kernel
    does. The standard deviation is 1.
    """

    def __init__(self, *, seed: int, smooth: int, size: int = 1024) -> None:
        self._random = np.random.default_rng(seed)
        field: Plane = self._random.standard_normal((size, size), dtype=np.float32)
        for _ in range(smooth):
            for axis in (0, 1):
                around = np.roll(field, 1, axis) + np.roll(field, -1, axis)
                field = (around + 2 * field) * np.float32(0.25)
        self._field: Plane = field / np.float32(field.std())

    def take(self, rows: int, columns: int) -> Plane:
        """A piece of the field at a place of its own."""
        size = len(self._field)
        top, left = self._random.integers(0, size // 2, 2)
        if max(rows, columns) <= size // 2:
            return self._field[top : top + rows, left : left + columns]
        tiled = np.tile(self._field, (-(-rows // size) + 1, -(-columns // size) + 1))
        return tiled[top : top + rows, left : left + columns]
