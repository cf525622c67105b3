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
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    generate_uid,
)

from teleprefetch.local.samples import write_samples

_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
_MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
_TODAY = date(2026, 11, 24)


@dataclass(frozen=True)
class Kind:
    """One study to open: what it is called here, and its files."""

    name: str
    study_instance_uid: str
    files: tuple[Path, ...]


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
        enhanced_ct=_write("enhanced-ct", folder, [_enhanced(slices)]),
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
    dataset.StudyInstanceUID = _uid(name, "study")
    dataset.SeriesInstanceUID = _uid(name, "series")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = _uid(name, number)
    dataset.StudyDescription = dataset.SeriesDescription = name
    dataset.AccessionNumber = f"A-{name}"[:16]


def _is_ct(folder: Path) -> bool:
    first = next(iter(sorted(folder.rglob("*.dcm"))))
    return bool(pydicom.dcmread(first, stop_before_pixels=True).Modality == "CT")


def _largest_series(folder: Path) -> list[Path]:
    series = [sorted(one.glob("*.dcm")) for one in folder.iterdir() if one.is_dir()]
    return max(series, key=len)


def _kind(name: str, files: Sequence[Path]) -> Kind:
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    return Kind(name, uid, tuple(files))


def _write(name: str, folder: Path, datasets: Iterable[Dataset]) -> Kind:
    target = folder / name
    target.mkdir(parents=True)
    for number, dataset in enumerate(datasets, 1):
        dataset.save_as(target / f"{number:04d}.dcm", enforce_file_format=True)
    return _kind(name, sorted(target.glob("*.dcm")))


def _uid(*parts: object) -> UID:
    return generate_uid(entropy_srcs=["reading-room", *map(str, parts)])


def _base(name: str, modality: str, sop_class: str, number: int, syntax: UID) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = _uid(name, "instance", number)
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = _uid(name, "study")
    dataset.SeriesInstanceUID = _uid(name, "series")
    dataset.FrameOfReferenceUID = _uid(name, "frame of reference")
    dataset.PatientName, dataset.PatientID = f"Kind^{name}", f"kind-{name}"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20261120"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber, dataset.StudyID = f"A-{name}"[:16], "1"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = dataset.SeriesDescription = name
    dataset.Modality, dataset.Manufacturer = modality, "teleprefetch"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    return dataset


def _pixels(dataset: Dataset, columns: int, rows: int, *, stored: int, signed: bool) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, stored, stored - 1
    dataset.PixelRepresentation = int(signed)


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
        dataset = _base(name, "MG", _MAMMOGRAPHY, number, ExplicitVRLittleEndian)
        dataset.SeriesInstanceUID = _uid(name, "series", number)
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
        _pixels(dataset, columns, rows, stored=12, signed=False)
        dataset.PixelData = np.ascontiguousarray(picture).tobytes()
        yield dataset


def _enhanced(slices: Sequence[Dataset]) -> Dataset:
    """The slices as one enhanced multi-frame instance (PS3.3 A.38), with functional groups."""
    first = slices[0]
    dataset = _base("enhanced-ct", "CT", _ENHANCED_CT, 1, ExplicitVRLittleEndian)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(slices)
    dataset.BodyPartExamined, dataset.PatientPosition = "CHEST", "HFS"
    _pixels(
        dataset,
        first.Columns,
        first.Rows,
        stored=int(first.BitsStored),
        signed=bool(first.PixelRepresentation),
    )
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = first.PixelSpacing
    measures.SliceThickness = first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([orientation])
    shared.PixelValueTransformationSequence = Items([_rescale(first)])
    shared.FrameVOILUTSequence = Items([_window()])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_frame_of(one, number) for number, one in enumerate(slices, 1)]
    )
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    return dataset


def _frame_of(one: Dataset, number: int) -> Dataset:
    groups, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = one.ImagePositionPatient
    content.StackID, content.InStackPositionNumber = "1", number
    content.DimensionIndexValues = [1, number]
    groups.PlanePositionSequence = Items([position])
    groups.FrameContentSequence = Items([content])
    return groups


def _rescale(one: Dataset) -> Dataset:
    transformation = Dataset()
    transformation.RescaleIntercept = one.RescaleIntercept
    transformation.RescaleSlope = one.RescaleSlope
    transformation.RescaleType = "HU"
    return transformation


def _window() -> Dataset:
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 40, 400
    return window


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
