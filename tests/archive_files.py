"""Real DICOM files for archives under test: those that pydicom brings along, and kin of theirs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

_BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
_SINGLE = (
    "examples_ybr_color.dcm",
    "SC_rgb_rle_2frame.dcm",
    "JPEG2000.dcm",
    "test-SR.dcm",
    "CT_small.dcm",
)

PATIENT_ID = "98890234"
PATIENT_NAME = "Doe^Peter"
NAMESAKE_ID = "98890235"
OTHER_ISSUER = "ELSEWHERE"


@dataclass(frozen=True)
class ArchiveFile:
    """One DICOM file of the corpus."""

    path: Path

    @cached_property
    def dataset(self) -> Dataset:
        return pydicom.dcmread(self.path)

    @property
    def has_pixels(self) -> bool:
        return "PixelData" in self.dataset

    @property
    def transfer_syntax_uid(self) -> UID:
        return self.dataset.file_meta.TransferSyntaxUID

    def frame(self, number: int) -> bytes:
        """A frame's bytes as they lie in the file; `number` counts from one."""
        frames = int(self.dataset.get("NumberOfFrames") or 1)
        if self.transfer_syntax_uid.is_encapsulated:
            return get_frame(self.dataset.PixelData, number - 1, number_of_frames=frames)
        size = len(self.dataset.PixelData) // frames
        return bytes(self.dataset.PixelData[(number - 1) * size : number * size])


@dataclass(frozen=True)
class Corpus:
    """What an archive under test holds."""

    files: tuple[ArchiveFile, ...]

    def where(self, **attributes: Any) -> Iterator[ArchiveFile]:
        """The files whose attributes, by keyword, are these."""
        for file in self.files:
            if all(file.dataset.get(keyword) == value for keyword, value in attributes.items()):
                yield file

    def study_uids(self, **attributes: Any) -> set[str]:
        return {str(file.dataset.StudyInstanceUID) for file in self.where(**attributes)}

    def series_uids(self, **attributes: Any) -> set[str]:
        return {str(file.dataset.SeriesInstanceUID) for file in self.where(**attributes)}


def real_corpus(directory: Path) -> Corpus:
    """Two real patients, a namesake, the same PatientID of another issuer, and single files."""
    folders = ("77654033", "98892001", "98892003")
    bundled = [
        path
        for folder in folders
        for path in sorted((_BUNDLED / "dicomdirtests" / folder).rglob("*"))
        if path.is_file()
    ]
    bundled += [_BUNDLED / name for name in _SINGLE]
    model = _BUNDLED / "dicomdirtests" / "98892001" / "CT2N" / "6293"
    namesake = _kin(model, directory / "namesake.dcm", PatientID=NAMESAKE_ID)
    elsewhere = _kin(model, directory / "elsewhere.dcm", IssuerOfPatientID=OTHER_ISSUER)
    pixels = pydicom.dcmread(model).PixelData
    frames = _kin(
        model,
        directory / "uncompressed-frames.dcm",
        PatientID="frames",
        NumberOfFrames=3,
        PixelData=pixels + pixels[::-1] + pixels,
    )
    return Corpus(tuple(ArchiveFile(path) for path in (*bundled, namesake, elsewhere, frames)))


def _kin(model: Path, target: Path, **attributes: Any) -> Path:
    """A copy of a file as a study of its own, with other attributes."""
    dataset = pydicom.dcmread(model)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    root = f"1.2.826.0.1.3680043.8.498.{len(target.name)}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{root}.1", f"{root}.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{root}.1.1.1")
    dataset.save_as(target)
    return target
