"""What each scanner makes of the patient: CT slices, radiographs and MR slices, with noise."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.local.samples.brain import head, with_sulci
from teleprefetch.local.samples.knee import knee
from teleprefetch.local.samples.lungs import nodule
from teleprefetch.local.samples.solids import Anatomy, Grid, Plane, doubled
from teleprefetch.local.samples.texture import Noise
from teleprefetch.local.samples.torso import outline, torso

AXIAL_ORIENTATION = [1, 0, 0, 0, 1, 0]
CORONAL_ORIENTATION = [1, 0, 0, 0, 0, -1]
Kernel = Literal["soft", "lung"]
_KERNELS: dict[Kernel, dict[str, object]] = {
    "soft": {"ConvolutionKernel": "B30f", "WindowCenter": 40, "WindowWidth": 400},
    "lung": {"ConvolutionKernel": "B60f", "WindowCenter": -600, "WindowWidth": 1500},
}
_NOISE_HU: dict[Kernel, float] = {"soft": 32, "lung": 42}


@dataclass(frozen=True, slots=True)
class Picture:
    """One instance's pixels, and the attributes that only its scanner knows, by DICOM keyword."""

    pixels: bytes
    attributes: Mapping[str, object]
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN


class Department:
    """The scanners, and the patient before them; anatomy and noise are made once and reused.

    `scale` below 1 makes radiographs smaller; how many slices a series has is the caller's.
    """

    def __init__(self, *, seed: int, scale: float) -> None:
        self._seed = seed
        self._scale = min(scale, 1.0)
        self._torsos: dict[bool, Anatomy] = {}
        self._chests: dict[str, Plane] = {}
        self._noise: dict[Kernel, Noise] = {
            "soft": Noise(seed=seed, smooth=2),
            "lung": Noise(seed=seed + 1, smooth=1),
        }

    def axial(
        self,
        count: int,
        *,
        top_mm: float,
        bottom_mm: float,
        enhanced: bool,
        kernel: Kernel,
        nodule_mm: float = 0,
        shift_mm: float = 0,
    ) -> Iterator[Picture]:
        """Axial CT slices from head to feet; `shift_mm` is how far off centre the patient lay."""
        grid = Grid(0.703125, 512, 512, -179.65 + shift_mm, -179.65)
        anatomy = self._torso(enhanced=enhanced, nodule_mm=nodule_mm)
        weight = doubled(outline().cut(grid.coarser(2), axis=2, at_mm=0, outside=0.3))
        step = (top_mm - bottom_mm) / max(count - 1, 1)
        for index in range(count):
            z = top_mm - step * index
            hounsfield = doubled(anatomy.cut(grid.coarser(2), axis=2, at_mm=z, outside=-1000))
            yield self._ct(
                hounsfield + weight * self._grain(kernel, 512, 512),
                kernel,
                ImagePositionPatient=_decimals(grid.first_column_mm, grid.first_row_mm, z),
                ImageOrientationPatient=AXIAL_ORIENTATION,
                PixelSpacing=[grid.spacing_mm, grid.spacing_mm],
                SliceThickness=round(step, 2),
                SliceLocation=round(z, 2),
            )

    def coronal(self, count: int, *, enhanced: bool, nodule_mm: float) -> Iterator[Picture]:
        """Coronal CT reformats of the chest from front to back, as a lung kernel shows them."""
        grid = Grid(0.703125, 512, 512, -179.65, 285, -1)
        anatomy = self._torso(enhanced=enhanced, nodule_mm=nodule_mm)
        step = 150 / max(count, 1)
        for index in range(count):
            y = -75 + step * (index + 0.5)
            hounsfield = doubled(anatomy.cut(grid.coarser(2), axis=1, at_mm=y, outside=-1000))
            yield self._ct(
                hounsfield + 0.8 * self._grain("lung", 512, 512),
                "lung",
                ImageType=["DERIVED", "SECONDARY", "REFORMATTED"],
                ImagePositionPatient=_decimals(grid.first_column_mm, y, grid.first_row_mm),
                ImageOrientationPatient=CORONAL_ORIENTATION,
                PixelSpacing=[grid.spacing_mm, grid.spacing_mm],
                SliceThickness=round(step, 2),
            )

    def chest(self, count: int, *, views: tuple[str, str]) -> Iterator[Picture]:
        """The two chest radiographs, by their ViewPosition."""
        for view, lateral in zip(views[:count], (False, True), strict=False):
            tall, wide = self._matrix(2048, 1664)
            grid = Grid(430 / tall, tall, wide, -175, 300, -1).coarser(4)
            if view not in self._chests:
                anatomy = self._torso(enhanced=False, nodule_mm=0)
                self._chests[view] = anatomy.look_through(grid, axis=0 if lateral else 1)
            yield self._radiograph(
                self._chests[view],
                spacing_mm=430 / tall,
                ViewPosition=view,
                PatientOrientation=(["P", "F"] if lateral else ["L", "F"]),
            )

    def knee(self, count: int, *, side: int) -> Iterator[Picture]:
        """The knee from the front and from the side; `side` is 1 for the left one, -1 otherwise."""
        tall, wide = self._matrix(1280, 1024)
        for view, axis in (("AP", 1), ("LL", 0))[:count]:
            grid = Grid(256 / tall, tall, wide, -102, 128, -1).coarser(4)
            water = knee(side=side).look_through(grid, axis=axis)
            orientation = ["L", "F"] if axis == 1 else ["P", "F"]
            yield self._radiograph(
                water, spacing_mm=256 / tall, ViewPosition=view, PatientOrientation=orientation
            )

    def brain(self, count: int) -> Iterator[Picture]:
        """Axial MR slices of the head from the base to the vertex."""
        grid = Grid(0.9, 256, 256, -114.75, -114.75)
        folds = tuple(
            Noise(seed=self._seed + k, smooth=14, size=512).take(256, 256) for k in (2, 3)
        )
        anatomy, step = head(), 120 / max(count, 1)
        for index in range(count):
            z = -58 + step * index
            plane = anatomy.cut(grid, axis=2, at_mm=z, outside=0)
            plane = with_sulci(plane, grid, at_mm=z, folds=(folds[0], folds[1]))
            noisy: Plane = np.abs(plane + np.float32(26) * self._noise["lung"].take(256, 256))
            yield _grey(
                noisy,
                bits=12,
                ImagePositionPatient=_decimals(grid.first_column_mm, grid.first_row_mm, z),
                ImageOrientationPatient=AXIAL_ORIENTATION,
                PixelSpacing=[grid.spacing_mm, grid.spacing_mm],
                SliceThickness=round(step, 2),
                SpacingBetweenSlices=round(step, 2),
                WindowCenter=700,
                WindowWidth=1400,
            )

    def _torso(self, *, enhanced: bool, nodule_mm: float) -> Anatomy:
        if enhanced not in self._torsos:
            self._torsos[enhanced] = torso(seed=self._seed, enhanced=enhanced)
        plain = self._torsos[enhanced]
        return plain.with_solids(nodule(diameter_mm=nodule_mm)) if nodule_mm else plain

    def _grain(self, kernel: Kernel, rows: int, columns: int) -> Plane:
        return self._noise[kernel].take(rows, columns) * np.float32(_NOISE_HU[kernel])

    def _ct(self, hounsfield: Plane, kernel: Kernel, **attributes: object) -> Picture:
        scale = {"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU"}
        return _grey(hounsfield + 1024, bits=12, **scale, **_KERNELS[kernel], **attributes)

    def _matrix(self, rows: int, columns: int) -> tuple[int, int]:
        shrink = math.sqrt(self._scale)
        return 64 * max(round(rows * shrink / 64), 6), 64 * max(round(columns * shrink / 64), 5)

    def _radiograph(self, water: Plane, *, spacing_mm: float, **attributes: object) -> Picture:
        coarse = water[::4, ::4]
        typical = float(np.median(coarse[coarse > 20]))
        signal = doubled(doubled(np.float32(3900) * (1 - np.exp(-np.maximum(water, 0) / typical))))
        grain = self._noise["lung"].take(*signal.shape)
        noisy: Plane = signal + grain * (8 + signal * np.float32(10 / 3900))
        low, high = np.percentile(signal[::8, ::8][signal[::8, ::8] > 400], (2, 98))
        return _grey(
            noisy,
            bits=12,
            ImagerPixelSpacing=[round(spacing_mm, 4), round(spacing_mm, 4)],
            WindowCenter=round((low + high) / 2),
            WindowWidth=round(high - low),
            RescaleIntercept=0,
            RescaleSlope=1,
            RescaleType="US",
            **attributes,
        )


def _grey(plane: Plane, *, bits: int, **attributes: object) -> Picture:
    pixels = np.clip(plane, 0, 2**bits - 1).astype("<u2")
    return Picture(
        pixels.tobytes(),
        {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "BitsAllocated": 16,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            **attributes,
        },
    )


def _decimals(*values: float) -> list[float]:
    return [round(value, 3) for value in values]
