"""Reads the header of one file of unknown making: an instance, no instance, or a broken one."""

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from teleprefetch.dicom import is_uid
from teleprefetch.model import PatientKey

# PS3.4 I.4: the Media Storage Directory, a file's index of a medium, is no instance.
_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_KEYWORDS: Final = (
    *_UIDS,
    "PatientID",
    "IssuerOfPatientID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "Modality",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "ProcedureCodeSequence",
    "BodyPartExamined",
    "SeriesDescription",
    "SeriesNumber",
    "Laterality",
)
_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR "
    b"US UT UV".split()
)
# What pydicom raises for bytes that are no data set; it has no common root for them.
_UNREADABLE: Final = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one instance tells; dates as DICOM has them, or empty."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient: PatientKey
    study_date: str
    study_time: str
    study_description: str
    modality: str
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    procedure_codes: tuple[str, ...] = ()
    body_part_examined: str = ""
    series_description: str = ""
    series_number: int | None = None
    laterality: str = ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A DICOM file that cannot be taken; `reason` names the field, never its content."""

    reason: str


def read_header(path: Path) -> Header | Unusable | None:
    """The header of a file; None if it is no DICOM instance, or the index of a medium.

    A file without preamble (PS3.10 7.1) is taken if it starts as a data set does and holds a
    SOP class.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            start = file.read(132)
        has_preamble = start[128:132] == b"DICM"
        if not has_preamble and not _starts_a_data_set(start, path.stat().st_size):
            return None
        # pydicom warns of odd values, and repeats them; those used are checked below instead.
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = dcmread(
                path,
                stop_before_pixels=True,
                force=not has_preamble,
                specific_tags=list(_KEYWORDS),
            )
            return _header_of(dataset, has_preamble=has_preamble)
    except OSError:
        return Unusable("file: cannot be read")
    except _UNREADABLE:
        return Unusable("file: damaged, its header cannot be parsed")


def _starts_a_data_set(start: bytes, size_bytes: int) -> bool:
    """Tell whether the bytes begin with an element of group 2 or 8 (PS3.5 7.1)."""
    if len(start) < 8:
        return False
    little_endian = start[0] in {2, 8} and start[1] == 0
    big_endian = start[1] in {2, 8} and start[0] == 0
    explicit = start[4:6] in _VRS
    implicit = int.from_bytes(start[4:8], "little") <= size_bytes - 8
    return (little_endian and (explicit or implicit)) or (big_endian and explicit)


def _header_of(dataset: FileDataset, *, has_preamble: bool) -> Header | Unusable | None:
    uids = {keyword: _raw_text(dataset, keyword) for keyword in _UIDS}
    stored_as = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if _MEDIA_STORAGE_DIRECTORY in {stored_as, uids["SOPClassUID"]}:
        return None
    if not uids["SOPClassUID"] and not has_preamble:
        return None
    patient_id = _only(dataset.get("PatientID"))
    wrong = _wrong_uid(uids)
    if wrong:
        return Unusable(wrong)
    if not patient_id:
        return Unusable("PatientID: missing, so that nobody can tell whose priors these are")
    return Header(
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        patient=PatientKey(
            patient_id=patient_id,
            issuer_of_patient_id=_only(dataset.get("IssuerOfPatientID")),
        ),
        study_date=_digits(_only(dataset.get("StudyDate")), 8),
        study_time=_digits(_only(dataset.get("StudyTime")).partition(".")[0], 6),
        study_description=_only(dataset.get("StudyDescription")),
        modality=_only(dataset.get("Modality")),
        patient_name=_only(dataset.get("PatientName")),
        patient_birth_date=_digits(_only(dataset.get("PatientBirthDate")), 8),
        patient_sex=_only(dataset.get("PatientSex")),
        procedure_codes=_codes(dataset.get("ProcedureCodeSequence")),
        body_part_examined=_only(dataset.get("BodyPartExamined")),
        series_description=_only(dataset.get("SeriesDescription")),
        series_number=_number(_only(dataset.get("SeriesNumber"))),
        laterality=_only(dataset.get("Laterality")),
    )


def _codes(items: object) -> tuple[str, ...]:
    """The code values of a code sequence (PS3.3 8.8); none if it is no sequence."""
    if not isinstance(items, Sequence):
        return ()
    return tuple(filter(None, (_only(item.get("CodeValue")) for item in items)))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.lstrip("-").isdecimal() else None


def _wrong_uid(uids: dict[str, str]) -> str:
    for keyword, value in uids.items():
        if not value:
            return f"{keyword}: missing"
        if "\\" in value:
            return f"{keyword}: more than one value"
        if not is_uid(value):
            return f"{keyword}: not a DICOM UID (PS3.5 9.1)"
    return ""


def _raw_text(dataset: FileDataset, keyword: str) -> str:
    """The value as it is in the file, without its padding: pydicom's UIDs lose a final newline."""
    if keyword not in dataset:
        return ""
    raw = dataset.get_item(keyword).value
    return raw.decode("ascii", "replace").rstrip("\0 ") if isinstance(raw, bytes) else ""


def _only(value: object) -> str:
    """The one value as text; none, or several where one belongs, are as good as empty."""
    if value is None or isinstance(value, MultiValue):
        return ""
    return "".join(letter for letter in str(value) if letter.isprintable()).strip()


def _digits(text: str, length: int) -> str:
    """The digits of a date or time, also in the old notation with dots or colons; or empty."""
    digits = text.replace(".", "").replace(":", "")
    if not digits.isdecimal() or not digits.isascii():
        return ""
    return digits.ljust(length, "0") if length == 6 else digits * (len(digits) == length)
