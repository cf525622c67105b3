"""A data set as HealthImaging's metadata document has it: values by keyword, at four levels.

The developer guide, "Metadata normalization", lists which attribute is at which level; the lists
below are our reading of DICOM's patient, study and series modules (PS3.3 C.7), and may differ
from it in rare attributes. The shape of the values follows real documents, in which integer and
decimal strings keep the blank that pads them to an even length, empty values are null, and
private attributes are named by their tag, with their VR in `DICOMVRs`.
"""

import base64
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

Level = dict[str, Any]

_PATIENT: Final = frozenset(
    [
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "TypeOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "QualityControlSubject",
        "OtherPatientIDs",
        "OtherPatientIDsSequence",
        "OtherPatientNames",
        "EthnicGroup",
        "PatientComments",
        "PatientSpeciesDescription",
        "PatientBreedDescription",
        "ResponsiblePerson",
        "ResponsibleOrganization",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
    ]
)
_STUDY: Final = frozenset(
    [
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ReferringPhysicianName",
        "ReferringPhysicianIdentificationSequence",
        "ConsultingPhysicianName",
        "IssuerOfAccessionNumberSequence",
        "PhysiciansOfRecord",
        "NameOfPhysiciansReadingStudy",
        "ReferencedStudySequence",
        "ProcedureCodeSequence",
        "RequestingService",
        "ReasonForPerformedProcedureCodeSequence",
        "AdmittingDiagnosesDescription",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "Occupation",
        "AdditionalPatientHistory",
        "AdmissionID",
        "PatientState",
    ]
)
_SERIES: Final = frozenset(
    [
        "SeriesInstanceUID",
        "SeriesNumber",
        "Modality",
        "Laterality",
        "SeriesDate",
        "SeriesTime",
        "SeriesDescription",
        "PerformingPhysicianName",
        "ProtocolName",
        "OperatorsName",
        "BodyPartExamined",
        "PatientPosition",
        "SmallestPixelValueInSeries",
        "LargestPixelValueInSeries",
        "RequestAttributesSequence",
        "PerformedProcedureStepID",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "PerformedProcedureStepDescription",
        "PerformedProtocolCodeSequence",
        "Manufacturer",
        "InstitutionName",
        "InstitutionAddress",
        "InstitutionalDepartmentName",
        "StationName",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
    ]
)
_PADDED: Final = {"DS", "IS"}
_BASE64_LIMIT_BYTES: Final = 64 * 1024


def levels_of(dataset: Dataset) -> dict[str, Level]:
    """The attributes as Patient, Study, Series and Instance, and the VRs of private ones."""
    levels: dict[str, Level] = {
        name: {} for name in ("Patient", "Study", "Series", "Instance", "DICOMVRs")
    }
    for element in dataset:
        if element.tag.group == 0x7FE0 or element.tag.element == 0:
            continue
        name = _name_of(element)
        levels[_level_of(name)][name] = _value_of(element)
        if not element.keyword:
            levels["DICOMVRs"][name] = str(element.VR)
    return levels


def text_of(dataset: Dataset, keyword: str) -> str:
    """One attribute as text, empty if it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue | list):
        return "\\".join(str(part) for part in value).strip()
    return "" if value is None else str(value).strip()


def _level_of(name: str) -> str:
    if name in _PATIENT:
        return "Patient"
    if name in _STUDY:
        return "Study"
    return "Series" if name in _SERIES else "Instance"


def _name_of(element: DataElement) -> str:
    return str(element.keyword or f"{int(element.tag):08X}")


def _value_of(element: DataElement) -> Any:
    if element.VR == "SQ":
        return [_item_of(item) for item in element.value]
    if element.is_empty:
        return None
    if isinstance(element.value, MultiValue | list | tuple):
        values = [_single(value) for value in element.value]
        if element.VR in _PADDED:
            values[-1] = _padded(values[-1], len("\\".join(values)))
        return values
    single = _single(element.value)
    return _padded(single, len(single)) if element.VR in _PADDED else single


def _item_of(item: Dataset) -> Level:
    return {_name_of(element): _value_of(element) for element in item}


def _single(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value[:_BASE64_LIMIT_BYTES]).decode()
    if type(value) in (int, float):
        return value
    # IS and DS keep what was written: "1.50" stays that.
    original = getattr(value, "original_string", None)
    return original if isinstance(original, str) else str(value)


def _padded(text: str, total_length: int) -> str:
    return text + " " if total_length % 2 else text
