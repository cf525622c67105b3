"""The attributes of a study and a series that the node answers searches from.

They are taken from the series' own metadata when it is stored, so that a search reads no blobs.
"""

import json
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import SeriesPointer

Attributes = dict[str, JsonValue]

# PS3.18 Table 10.6.3-3, and what viewers ask for beyond it.
STUDY_TAGS: Final = {
    "00080005": "SpecificCharacterSet",
    "00080020": "StudyDate",
    "00080030": "StudyTime",
    "00080050": "AccessionNumber",
    "00080090": "ReferringPhysicianName",
    "00080201": "TimezoneOffsetFromUTC",
    "00081030": "StudyDescription",
    "00100010": "PatientName",
    "00100020": "PatientID",
    "00100021": "IssuerOfPatientID",
    "00100030": "PatientBirthDate",
    "00100040": "PatientSex",
    "0020000D": "StudyInstanceUID",
    "00200010": "StudyID",
}
# PS3.18 Table 10.6.3-4, and what viewers ask for beyond it.
SERIES_TAGS: Final = {
    "00080021": "SeriesDate",
    "00080031": "SeriesTime",
    "00080060": "Modality",
    "0008103E": "SeriesDescription",
    "00180015": "BodyPartExamined",
    "0020000E": "SeriesInstanceUID",
    "00200011": "SeriesNumber",
    "00200060": "Laterality",
    "00400244": "PerformedProcedureStepStartDate",
    "00400245": "PerformedProcedureStepStartTime",
    "00400275": "RequestAttributesSequence",
}
# PS3.18 Table 10.6.3-5.
INSTANCE_TAGS: Final = {
    "00080005": "SpecificCharacterSet",
    "00080016": "SOPClassUID",
    "00080018": "SOPInstanceUID",
    "00080201": "TimezoneOffsetFromUTC",
    "0020000D": "StudyInstanceUID",
    "0020000E": "SeriesInstanceUID",
    "00200013": "InstanceNumber",
    "00280008": "NumberOfFrames",
    "00280010": "Rows",
    "00280011": "Columns",
    "00280100": "BitsAllocated",
}


def read_instances(dicom_json: bytes) -> list[Attributes]:
    """The instances of a DICOM JSON document (PS3.18 F.2).

    Raises:
        CorruptPayloadError: it is no array of objects.
    """
    try:
        document = from_json(dicom_json, allow_inf_nan=False)
    except ValueError:
        raise CorruptPayloadError("metadata: not JSON") from None
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise CorruptPayloadError("metadata: not an array of objects (PS3.18 F.2)")
    return document


def series_attributes(series: SeriesPointer, instances: Sequence[Attributes]) -> Attributes:
    """The study's and the series' attributes, by the first instance.

    Raises:
        CorruptPayloadError: an instance is of another study or series.
    """
    for instance in instances:
        _require(instance, "0020000D", series.study_instance_uid)
        _require(instance, "0020000E", series.series_instance_uid)
    first = instances[0] if instances else {}
    kept = {tag: first[tag] for tag in (*STUDY_TAGS, *SERIES_TAGS) if tag in first}
    kept["0020000D"] = {"vr": "UI", "Value": [series.study_instance_uid]}
    kept["0020000E"] = {"vr": "UI", "Value": [series.series_instance_uid]}
    return kept


def _require(instance: Attributes, tag: str, uid: str) -> None:
    found = text_of(instance, tag)
    if found and found != uid:
        raise CorruptPayloadError(f"metadata: {tag} is another one's")


def text_of(attributes: Attributes, tag: str) -> str:
    """The first value of an attribute as text; a name is its alphabetic group."""
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    value = values[0] if isinstance(values, list) and values else None
    if isinstance(value, dict):
        value = value.get("Alphabetic")
    return "" if value is None else str(value)


def dump_instances(instances: Sequence[Attributes]) -> bytes:
    """Objects in DICOM JSON as a document."""
    return json.dumps(instances, ensure_ascii=False, separators=(",", ":")).encode()
