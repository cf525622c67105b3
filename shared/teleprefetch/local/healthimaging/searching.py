"""SearchImageSets: filters and order (API reference, SearchImageSets)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from teleprefetch.local.healthimaging.archive import Archive, ImageSet
from teleprefetch.local.healthimaging.wire import ServiceError

SearchPairs = Literal["documented", "any"]
_EQUAL_TAGS: Final = {
    "DICOMPatientId": "PatientID",
    "DICOMAccessionNumber": "AccessionNumber",
    "DICOMStudyId": "StudyID",
    "DICOMStudyInstanceUID": "StudyInstanceUID",
    "DICOMSeriesInstanceUID": "SeriesInstanceUID",
}
_TIMES: Final = {"createdAt", "updatedAt"}
_STUDY_TIME: Final = "DICOMStudyDateAndTime"
_SORT_FIELDS: Final = {"createdAt", "updatedAt", _STUDY_TIME}
_STRINGS: Final = {
    "DICOMPatientId": "PatientID",
    "DICOMPatientName": "PatientName",
    "DICOMPatientBirthDate": "PatientBirthDate",
    "DICOMPatientSex": "PatientSex",
    "DICOMStudyInstanceUID": "StudyInstanceUID",
    "DICOMStudyId": "StudyID",
    "DICOMStudyDescription": "StudyDescription",
    "DICOMAccessionNumber": "AccessionNumber",
    "DICOMSeriesInstanceUID": "SeriesInstanceUID",
    "DICOMSeriesModality": "Modality",
    "DICOMSeriesBodyPart": "BodyPartExamined",
    "DICOMStudyDate": "StudyDate",
    "DICOMStudyTime": "StudyTime",
}
Test = Callable[[ImageSet], bool]


@dataclass(frozen=True, slots=True)
class _Filter:
    """One filter: the attribute it is about, its operator, and the test it makes."""

    attribute: str
    operator: str
    passes: Test


def search(
    archive: Archive, criteria: dict[str, Any], *, pairs: SearchPairs
) -> tuple[list[ImageSet], dict[str, str]]:
    """The image sets that match, in order, and the order.

    Args:
        archive: where to look.
        criteria: the body of the request.
        pairs: which two filters go together: one EQUAL on an identifier with BETWEEN on
            updatedAt, which is the pair the developer guide shows, or any two.

    Raises:
        ServiceError: ValidationException.
    """
    if criteria.keys() - {"filters", "sort"}:
        raise ServiceError("ValidationException", "searchCriteria has an unknown member")
    filters = _filters(criteria.get("filters"), pairs)
    sort = criteria.get("sort", {"sortField": "updatedAt", "sortOrder": "DESC"})
    key = _sort_key(sort)
    found = [
        image_set
        for image_set in archive.active()
        if all(each.passes(image_set) for each in filters)
    ]
    found.sort(key=key, reverse=sort["sortOrder"] == "DESC")
    return found, sort


def summary_of(image_set: ImageSet, archive: Archive) -> dict[str, Any]:
    """The row of one image set, without what its instances leave empty."""
    tags = image_set.representative.tags
    dicom: dict[str, Any] = {
        name: tags[keyword] for name, keyword in _STRINGS.items() if tags[keyword]
    }
    if re.fullmatch(r"[-+]?\d{1,10}", tags["SeriesNumber"]):
        dicom["DICOMSeriesNumber"] = int(tags["SeriesNumber"])
    related = [image_set]
    if image_set.is_primary:
        related = archive.primaries(tags["StudyInstanceUID"])
    dicom["DICOMNumberOfStudyRelatedSeries"] = len(related)
    dicom["DICOMNumberOfStudyRelatedInstances"] = sum(
        len(found.latest.instances) for found in related
    )
    return {
        "imageSetId": image_set.image_set_id,
        "version": image_set.latest.number,
        "createdAt": image_set.created_at.timestamp(),
        "updatedAt": image_set.updated_at.timestamp(),
        "storageTier": "FREQUENT_ACCESS",
        "isPrimary": image_set.is_primary,
        "DICOMTags": dicom,
    }


def _filters(documents: Any, pairs: SearchPairs) -> list[_Filter]:
    if documents is None:
        return []
    if not isinstance(documents, list) or not 1 <= len(documents) <= 2:
        raise ServiceError("ValidationException", "filters must be one or two")
    filters = [_filter(document) for document in documents]
    if len(filters) == 2 and pairs == "documented" and not _is_documented(filters):
        raise ServiceError("ValidationException", "These two filters cannot be combined")
    return filters


def _is_documented(filters: list[_Filter]) -> bool:
    identifiers = [each for each in filters if each.attribute in _EQUAL_TAGS]
    return len(identifiers) == 1 and any(each.attribute == "updatedAt" for each in filters)


def _filter(document: Any) -> _Filter:
    if not isinstance(document, dict) or set(document) != {"values", "operator"}:
        raise ServiceError("ValidationException", "A filter is values and an operator")
    attribute, values = _attribute_and_values(document["values"])
    operator = document["operator"]
    if operator == "EQUAL" and len(values) == 1 and attribute in {*_EQUAL_TAGS, "isPrimary"}:
        return _Filter(attribute, operator, _equal(attribute, values[0]))
    if operator == "BETWEEN" and len(values) == 2 and attribute in {*_TIMES, _STUDY_TIME}:
        low, high = sorted(_moment(attribute, value) for value in values)
        position = _position(attribute)
        return _Filter(attribute, operator, lambda found: low <= position(found) <= high)
    raise ServiceError("ValidationException", "The operator does not fit the values")


def _attribute_and_values(values: Any) -> tuple[str, list[Any]]:
    if not isinstance(values, list) or not 1 <= len(values) <= 2:
        raise ServiceError("ValidationException", "values must be one or two")
    names = {name for value in values if isinstance(value, dict) for name in value}
    if len(names) != 1 or not all(isinstance(value, dict) and value for value in values):
        raise ServiceError("ValidationException", "values must be of one attribute")
    name = names.pop()
    return name, [value[name] for value in values]


def _equal(attribute: str, value: Any) -> Test:
    if attribute == "isPrimary":
        if not isinstance(value, bool):
            raise ServiceError("ValidationException", "isPrimary is not a boolean")
        return lambda found: found.is_primary is value
    if not isinstance(value, str):
        raise ServiceError("ValidationException", f"{attribute} is not a string")
    keyword = _EQUAL_TAGS[attribute]
    return lambda found: found.representative.tags[keyword] == value


def _moment(attribute: str, value: Any) -> str:
    if attribute == _STUDY_TIME:
        return _study_moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ServiceError("ValidationException", f"{attribute} is not a timestamp")
    return _instant(datetime.fromtimestamp(value, UTC))


def _study_moment(value: Any) -> str:
    date = value.get("DICOMStudyDate") if isinstance(value, dict) else None
    time = value.get("DICOMStudyTime", "") if isinstance(value, dict) else None
    if not isinstance(date, str) or re.fullmatch(r"\d{8}", date) is None:
        raise ServiceError("ValidationException", "DICOMStudyDate is not YYYYMMDD")
    if not isinstance(time, str) or re.fullmatch(r"(\d{2}){0,3}(\.\d{1,6})?", time) is None:
        raise ServiceError("ValidationException", "DICOMStudyTime is not HHmmss.FFFFFF")
    return date + time.replace(".", "").ljust(12, "0")


def _position(attribute: str) -> Callable[[ImageSet], str]:
    if attribute == "createdAt":
        return lambda found: _instant(found.created_at)
    if attribute == "updatedAt":
        return lambda found: _instant(found.updated_at)
    return _study_position


def _study_position(image_set: ImageSet) -> str:
    tags = image_set.representative.tags
    if not tags["StudyDate"]:
        return ""
    return tags["StudyDate"] + tags["StudyTime"].replace(".", "").ljust(12, "0")


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S%f")


def _sort_key(sort: Any) -> Callable[[ImageSet], str]:
    valid = isinstance(sort, dict) and set(sort) == {"sortField", "sortOrder"}
    if not valid or sort["sortField"] not in _SORT_FIELDS:
        raise ServiceError("ValidationException", "sortField is not one to sort by")
    if sort["sortOrder"] not in {"ASC", "DESC"}:
        raise ServiceError("ValidationException", "sortOrder is neither ASC nor DESC")
    return _position(sort["sortField"])
