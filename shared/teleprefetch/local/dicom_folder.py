"""Reads a user's own folder of DICOM files: whose studies there are, and what cannot be used.

Only headers are read. What is refused is named by its place in the folder, and what is wrong with
it by the DICOM keyword, never by content.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from teleprefetch.dicom import is_uid
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.dicom_header import Header, Unusable, read_header
from teleprefetch.model import PatientKey


@dataclass(frozen=True, slots=True)
class FolderStudy:
    """A study of the folder; its date is YYYYMMDD and its time HHMMSS, or empty."""

    study_instance_uid: str
    patient: PatientKey
    study_date: str
    study_time: str
    study_description: str
    modalities: tuple[str, ...]
    files: tuple[Path, ...]
    headers: tuple[Header, ...] = ()

    @property
    def newness(self) -> tuple[str, str, str]:
        """What studies sort by: date, time, and the UID where these are equal."""
        return (self.study_date, self.study_time, self.study_instance_uid)


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A DICOM file that is left out, by its name in the folder, and the field that is why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class FolderArchive:
    """All that a folder holds: studies, newest first; refused files; names of other files."""

    root: Path
    studies: tuple[FolderStudy, ...]
    refused: tuple[RefusedFile, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FolderChoice:
    """The current study, the patient's other studies whatever their dates, and other patients'."""

    current: FolderStudy
    priors: tuple[FolderStudy, ...]
    others: tuple[FolderStudy, ...]


def read_folder(folder: Path) -> FolderArchive:
    """Read the headers of all files below `folder`, whatever their depth and names.

    Symbolic links to folders are not followed. A study that two patients claim, and an instance
    that two studies claim, are refused as a whole: nobody can tell whose they are.

    Raises:
        InvalidPayloadError: the folder does not exist or is empty, or nothing in it is usable.
    """
    if not folder.is_dir():
        raise InvalidPayloadError("folder: not an existing folder")
    found: list[tuple[Path, Header]] = []
    closed: list[Path] = []
    refused: list[RefusedFile] = []
    ignored: list[str] = []
    for path in _files(folder, closed):
        header = read_header(path)
        if isinstance(header, Header):
            found.append((path, header))
        elif isinstance(header, Unusable):
            refused.append(RefusedFile(_name(path, folder), header.reason))
        else:
            ignored.append(_name(path, folder))
    refused += [RefusedFile(_name(path, folder), "folder: cannot be read") for path in closed]
    conflicts = _conflicts(found)
    refused += [RefusedFile(_name(path, folder), why) for path, why in conflicts.items()]
    studies = _studies((path, header) for path, header in found if path not in conflicts)
    if not studies:
        raise InvalidPayloadError(_nothing(refused, ignored))
    refused.sort(key=lambda file: file.name)
    return FolderArchive(folder, studies, tuple(refused), tuple(ignored))


def choose_current(archive: FolderArchive, study_instance_uid: str | None = None) -> FolderChoice:
    """Choose the study to be read: the named one, or the newest of whoever has the most studies.

    Raises:
        InvalidPayloadError: the name is no UID, or the folder holds no such study.
    """
    if study_instance_uid is None:
        current = _newest_of_the_best_known(archive.studies)
    else:
        current = _named(archive.studies, study_instance_uid)
    rest = [study for study in archive.studies if study is not current]
    return FolderChoice(
        current=current,
        priors=tuple(study for study in rest if study.patient == current.patient),
        others=tuple(study for study in rest if study.patient != current.patient),
    )


def _newest_of_the_best_known(studies: tuple[FolderStudy, ...]) -> FolderStudy:
    of_patient: dict[PatientKey, list[FolderStudy]] = defaultdict(list)
    for study in studies:
        of_patient[study.patient].append(study)
    most = max(of_patient.values(), key=lambda own: (len(own), own[0].newness))
    return most[0]


def _named(studies: tuple[FolderStudy, ...], study_instance_uid: str) -> FolderStudy:
    if not is_uid(study_instance_uid):
        raise InvalidPayloadError("--study: not a DICOM UID (PS3.5 9.1)")
    for study in studies:
        if study.study_instance_uid == study_instance_uid:
            return study
    raise InvalidPayloadError("--study: the folder holds no usable file of that study")


def _files(folder: Path, closed: list[Path]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        closed.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _nothing(refused: list[RefusedFile], ignored: list[str]) -> str:
    if refused:
        return f"folder: all {len(refused)} DICOM files refused, the first for {refused[0].reason}"
    if ignored:
        return f"folder: none of its {len(ignored)} files is a DICOM instance"
    return "folder: empty"


def _conflicts(found: list[tuple[Path, Header]]) -> dict[Path, str]:
    patients: dict[str, set[PatientKey]] = defaultdict(set)
    claims: dict[str, set[str]] = defaultdict(set)
    for _, header in found:
        patients[header.study_instance_uid].add(header.patient)
        claims[header.sop_instance_uid].add(header.study_instance_uid)
    seen: set[str] = set()
    conflicts: dict[Path, str] = {}
    for path, header in found:
        if len(patients[header.study_instance_uid]) > 1:
            conflicts[path] = "PatientID: more than one in the same study"
        elif len(claims[header.sop_instance_uid]) > 1:
            conflicts[path] = "StudyInstanceUID: more than one for the same instance"
        elif header.sop_instance_uid in seen:
            conflicts[path] = "SOPInstanceUID: the same as in an earlier file"
        seen.add(header.sop_instance_uid)
    return conflicts


def _studies(found: Iterable[tuple[Path, Header]]) -> tuple[FolderStudy, ...]:
    def uid(item: tuple[Path, Header]) -> str:
        return item[1].study_instance_uid

    studies = [_study(list(items)) for _, items in groupby(sorted(found, key=uid), key=uid)]
    return tuple(sorted(studies, key=lambda study: study.newness, reverse=True))


def _study(items: list[tuple[Path, Header]]) -> FolderStudy:
    headers = [header for _, header in items]
    study_date, study_time = max((header.study_date, header.study_time) for header in headers)
    return FolderStudy(
        study_instance_uid=headers[0].study_instance_uid,
        patient=headers[0].patient,
        study_date=study_date,
        study_time=study_time,
        study_description=next((h.study_description for h in headers if h.study_description), ""),
        modalities=tuple(sorted({header.modality for header in headers if header.modality})),
        files=tuple(path for path, _ in items),
        headers=tuple(headers),
    )
