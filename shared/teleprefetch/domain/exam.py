"""What a study is an exam of, and which field said so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from teleprefetch.domain.describe import Reading, read
from teleprefetch.domain.regions import MODALITIES, default_regions, is_paired, lineage, settled
from teleprefetch.model import StudyRecord

# PS3.3 C.7.3.1.1.1 Modality, gathered into what a reader calls one kind of exam.
_GROUPS: Final = {
    "CT": "CT", "MR": "MR", "US": "US", "IVUS": "US", "CR": "XR", "DX": "XR", "DR": "XR",
    "RG": "XR", "PX": "XR", "IO": "XR", "XR": "XR", "MG": "MG", "NM": "NM", "ST": "NM", "PT": "PT",
    "PET": "PT", "XA": "XA", "DSA": "XA", "RF": "RF", "BMD": "BMD", "MA": "MR", "EC": "US",
    "MRI": "MR", "IR": "XA", "FL": "RF", "MAM": "MG", "DXA": "BMD", "ES": "OT", "XC": "OT",
    "ECG": "OT", "SM": "OT", "CTA": "CT", "MRA": "MR", "XRAY": "XR", "X-RAY": "XR", "ECHO": "US",
    "DEXA": "BMD", "NUC": "NM", "RT": "OT", "XRF": "RF",
}  # fmt: skip


_TRUSTED: Final = frozenset({"ProcedureCodeSequence", "StudyDescription"})
_NO_CODES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Exam:
    """A study as the score sees it.

    `other_regions` are those of a body part that contradicts the trusted field.
    """

    regions: tuple[str, ...]
    region_field: str
    other_regions: tuple[str, ...]
    modality: str
    modality_field: str
    side: str
    contrast: str
    flags: frozenset[str]
    words: frozenset[str]


def exam_of(study: StudyRecord, procedure_codes: Mapping[str, str] = _NO_CODES) -> Exam:
    """The exam that a study's fields describe, in their order of trust.

    Args:
        study: as searches found it.
        procedure_codes: the descriptions of the codes that the site knows.
    """
    series = study.series
    if not series and not study.procedure_codes:
        return _exam("", study.study_description, study.modalities_in_study, (), (), ())
    known = (procedure_codes.get(code) for code in study.procedure_codes)
    return _exam(
        next((text for text in known if text), ""),
        study.study_description,
        tuple(sorted({*study.modalities_in_study, *(one.modality for one in series)} - {""})),
        tuple(dict.fromkeys(one.body_part_examined for one in series if one.body_part_examined)),
        tuple(dict.fromkeys(one.series_description for one in series if one.series_description))[
            :12
        ],
        tuple(dict.fromkeys(one.laterality for one in series if one.laterality)),
    )


@lru_cache(maxsize=16_384)
def _exam(
    procedure: str,
    description: str,
    codes: tuple[str, ...],
    body_parts: tuple[str, ...],
    series_descriptions: tuple[str, ...],
    lateralities: tuple[str, ...],
) -> Exam:
    coded = read(procedure)
    said = read(description)
    part = read(" ".join(body_parts))
    detail = read(" ".join(series_descriptions))
    modality, modality_field = _modality(
        codes,
        (
            ("ProcedureCodeSequence", coded),
            ("StudyDescription", said),
            ("SeriesDescription", detail),
        ),
    )
    flags = said.flags | coded.flags
    sources = (
        ("ProcedureCodeSequence", coded),
        ("StudyDescription", said),
        ("BodyPartExamined", part),
        ("SeriesDescription", detail),
    )
    regions: tuple[str, ...] = ()
    field = "unknown"
    for name, reading in sources:
        if reading.regions:
            regions = settled(reading.regions, modality=modality, flags=flags | reading.flags)
        if regions:
            field = name
            break
    if not regions:
        regions = default_regions(modality=modality, flags=flags)
        field = modality_field if regions else field
    other: tuple[str, ...] = ()
    if field in _TRUSTED and part.regions:
        other = settled(part.regions, modality=modality, flags=flags)
        other = () if _are_kin(regions, other) else other
    return Exam(
        regions=regions,
        region_field=field,
        other_regions=other,
        modality=modality,
        modality_field=modality_field,
        side=(coded.side or said.side or _laterality(lateralities)) if is_paired(regions) else "",
        contrast=said.contrast,
        flags=flags,
        words=said.words,
    )


def _are_kin(regions: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return any(
        one in lineage(other) or other in lineage(one) for one in regions for other in others
    )


def _modality(codes: tuple[str, ...], texts: tuple[tuple[str, Reading], ...]) -> tuple[str, str]:
    groups = {modality_group(code) for code in codes}
    for group in MODALITIES[:-1]:
        if group in groups:
            return group, "ModalitiesInStudy"
    named = ((reading.modality, field) for field, reading in texts if reading.modality)
    return next(named, ("OT", "ModalitiesInStudy") if "OT" in groups else ("", "unknown"))


def modality_group(code: str) -> str:
    """The kind of exam of a Modality code (PS3.3 C.7.3.1.1.1); empty for an object of none."""
    return _GROUPS.get(code.strip().upper(), "")


def _laterality(codes: tuple[str, ...]) -> str:
    sides = {code.strip().upper()[:1] for code in codes} & {"L", "R", "B"}
    if not sides:
        return ""
    return sides.pop() if len(sides) == 1 else "B"


@lru_cache(maxsize=16_384)
def day_of(study_date: str) -> int | None:
    """The ordinal of a DICOM date (YYYYMMDD, or ACR-NEMA's YYYY.MM.DD); None if it is none."""
    digits = study_date.strip().replace(".", "").replace("-", "")
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).toordinal()
    except ValueError:
        return None
