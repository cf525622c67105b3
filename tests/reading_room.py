"""Studies as viewers meet them, one of each kind that is hard on a viewer, as DICOM files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from teleprefetch.local.samples import write_samples
from tests.made_instances import base, pixels, uid
from tests.multi_frame import enhanced_ct, tomosynthesis_of

_MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
_TODAY = date(2026, 11, 24)


@dataclass(frozen=True)
class Kind:
    """One study to open: what it is called here, its files, and how many frames they hold."""

    name: str
    study_instance_uid: str
    files: tuple[Path, ...]
    frames: int


@dataclass(frozen=True)
class ReadingRoom:
    """All kinds; `prior` is an earlier study of the patient of `ct`."""

    ct: Kind
    prior: Kind
    mammogram: Kind
    enhanced_ct: Kind
    jpeg_ls: Kind
    jpeg_2000: Kind

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (
            self.ct, self.prior, self.mammogram, self.enhanced_ct, self.jpeg_ls, self.jpeg_2000
        )  # fmt: skip

    @property
    def files(self) -> list[Path]:
        return [path for kind in self.kinds for path in kind.files]


def furnish(folder: Path, *, scale: float = 0.15) -> ReadingRoom:
    """Write every kind below `folder`; the same scale, the same bytes."""
    samples = write_samples(folder / "samples", today=_TODAY, scale=scale)
    chest = next(one for one in samples.priors if "chest" in one.folder.name and _is_ct(one.folder))
    ct = _kind("ct", _largest_series(samples.current.folder))
    slices = [pydicom.dcmread(path) for path in ct.files]
    return ReadingRoom(
        ct=ct,
        prior=_kind("prior", _largest_series(chest.folder)),
        mammogram=_write("mammogram", folder, _mammograms("mammogram", rows=1664, columns=1280)),
        enhanced_ct=_write("enhanced-ct", folder, [enhanced_ct(slices)]),
        jpeg_ls=_write("jpeg-ls", folder, _compressed(slices, JPEGLSLossless)),
        jpeg_2000=_write("jpeg-2000", folder, _compressed(slices, JPEG2000Lossless)),
    )


def long_ct(folder: Path, *, slices: int) -> Kind:
    """A chest CT of that many slices of half a megabyte, each with noise of its own."""
    return _write("long-ct", folder, _many(folder / "long-samples", "long-ct", slices))


def large_mammogram(folder: Path) -> Kind:
    """Four views of 17 MB each, as a full-field detector makes them."""
    views = _mammograms("large-mammogram", rows=3328, columns=2560)
    return _write("large-mammogram", folder, views)


def tomosynthesis(folder: Path, *, slices: int) -> Kind:
    """One breast in slices of 9 MB, in one multi-frame instance (PS3.3 A.55)."""
    name, (rows, columns) = "tomosynthesis", (2457, 1890)
    breast = next(_mammograms(name, rows=rows, columns=columns)).pixel_array.astype(np.int32)
    made = tomosynthesis_of(breast, slices=slices, spacing_mm=0.095)
    return _write(name, folder, [made])


def small_ct(folder: Path, *, name: str = "small-ct") -> Kind:
    """Another patient's CT of three slices."""
    return _write(name, folder, _many(folder / "small-samples", name, 3))


def _many(folder: Path, name: str, slices: int) -> Iterator[Dataset]:
    samples = write_samples(folder, today=_TODAY, scale=0.15)
    models = [pydicom.dcmread(path) for path in _largest_series(samples.current.folder)]
    noise = np.random.default_rng(7)
    for number in range(slices):
        copy = pydicom.dcmread(str(models[number * len(models) // slices].filename))
        _rename(copy, name, number)
        x, y, _ = copy.ImagePositionPatient
        copy.ImagePositionPatient = [x, y, -1.25 * number]
        copy.InstanceNumber, copy.SliceThickness = number + 1, 1.25
        pixels = copy.pixel_array
        picture = pixels + noise.integers(-12, 13, pixels.shape)
        limits = np.iinfo(pixels.dtype)
        copy.PixelData = picture.clip(limits.min, limits.max).astype(pixels.dtype).tobytes()
        yield copy


def _rename(dataset: Dataset, name: str, number: int) -> None:
    """Make a sample an instance of a study of its own, of a patient of its own."""
    dataset.PatientName, dataset.PatientID = f"Kind^{name}", f"kind-{name}"
    if "IssuerOfPatientID" in dataset:
        del dataset.IssuerOfPatientID
    dataset.StudyInstanceUID = uid(name, "study")
    dataset.SeriesInstanceUID = uid(name, "series")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(name, number)
    dataset.StudyDescription = dataset.SeriesDescription = name
    dataset.AccessionNumber = f"A-{name}"[:16]


def _is_ct(folder: Path) -> bool:
    first = next(iter(sorted(folder.rglob("*.dcm"))))
    return bool(pydicom.dcmread(first, stop_before_pixels=True).Modality == "CT")


def _largest_series(folder: Path) -> list[Path]:
    series = [sorted(one.glob("*.dcm")) for one in folder.iterdir() if one.is_dir()]
    return max(series, key=len)


def _kind(name: str, files: Sequence[Path]) -> Kind:
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    frames = sum(int(one.get("NumberOfFrames", 1)) for one in read)
    return Kind(name, str(read[0].StudyInstanceUID), tuple(files), frames)


def _write(name: str, folder: Path, datasets: Iterable[Dataset]) -> Kind:
    target = folder / name
    target.mkdir(parents=True)
    for number, dataset in enumerate(datasets, 1):
        dataset.save_as(target / f"{number:04d}.dcm", enforce_file_format=True)
    return _kind(name, sorted(target.glob("*.dcm")))


def _mammograms(name: str, *, rows: int, columns: int) -> Iterator[Dataset]:
    """Two views of each breast: half an ellipse of glandular texture against the chest wall."""
    noise = np.random.default_rng(3)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    depth = 1 - (x / (0.75 * columns)) ** 2 - ((y - rows / 2) / (0.42 * rows)) ** 2
    gland = np.sin(x / 23) * np.sin(y / 31) + 0.6 * np.sin((x + 2 * y) / 57)
    for number, (side, view) in enumerate(
        (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")), 1
    ):
        tissue = np.where(depth > 0, 900 + 1500 * np.sqrt(np.abs(depth)) + 220 * gland, 60)
        picture = (tissue + noise.normal(0, 25, tissue.shape)).clip(0, 4095).astype("<u2")
        if side == "R":
            picture = picture[:, ::-1]
        dataset = base(name, "MG", _MAMMOGRAPHY, number, ExplicitVRLittleEndian)
        dataset.SeriesInstanceUID = uid(name, "series", number)
        dataset.SeriesNumber, dataset.SeriesDescription = number, f"{side} {view}"
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.ImageLaterality, dataset.ViewPosition = side, view
        dataset.BodyPartExamined = "BREAST"
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
        dataset.ImagerPixelSpacing = [round(179.2 / columns, 3)] * 2
        dataset.PatientOrientation = ["P", "L"] if side == "R" else ["A", "R"]
        dataset.WindowCenter, dataset.WindowWidth = 1600, 2600
        dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
        pixels(dataset, columns, rows, stored=12, signed=False)
        dataset.PixelData = np.ascontiguousarray(picture).tobytes()
        yield dataset


def _compressed(slices: Sequence[Dataset], syntax: UID) -> Iterator[Dataset]:
    """The slices as a study of their own, compressed without loss."""
    name = "jpeg-ls" if syntax == JPEGLSLossless else "jpeg-2000"
    for number, one in enumerate(slices, 1):
        copy = pydicom.dcmread(one.filename)
        _rename(copy, name, number)
        copy.PixelData = encapsulate([_encoded(copy, syntax)])
        copy["PixelData"].VR = "OB"
        copy.file_meta.TransferSyntaxUID = syntax
        yield copy


def _encoded(dataset: Dataset, syntax: UID) -> bytes:
    """One frame; stored values above zero, for JPEG-LS knows no signs."""
    picture: NDArray[np.int32] = dataset.pixel_array.astype(np.int32)
    if dataset.PixelRepresentation:
        lowest = int(picture.min())
        picture = picture - lowest
        dataset.RescaleIntercept = float(dataset.RescaleIntercept) + lowest * float(
            dataset.RescaleSlope
        )
        dataset.PixelRepresentation = 0
    values = np.ascontiguousarray(picture.astype(np.uint16))
    bits = max(8, int(values.max()).bit_length())
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if keyword in dataset:
            del dataset[keyword]
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(values))
    return bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=bits))
