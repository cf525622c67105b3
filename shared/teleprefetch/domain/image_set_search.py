"""What SearchImageSets answers, a row for each image set, collapsed to studies.

Source: HealthImaging API reference, "ImageSetsMetadataSummary" and "DICOMTags". An image set holds
one series. Where imports conflict, a series has a primary set and others beside it; DICOMweb shows
the primary one only ("Understanding image sets"), and so does this, if there is one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from teleprefetch.dicom import is_uid
from teleprefetch.domain.dicom_json import StudyObject
from teleprefetch.domain.dicom_values import date_of, place_of, text_of, time_of
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import (
    ImageSetId,
    PatientKey,
    SeriesPointer,
    SeriesRecord,
    StudyRecord,
)


class _Tags(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    patient_id: str = Field(default="", alias="DICOMPatientId")
    patient_name: str = Field(default="", alias="DICOMPatientName")
    patient_birth_date: str = Field(default="", alias="DICOMPatientBirthDate")
    patient_sex: str = Field(default="", alias="DICOMPatientSex")
    study_instance_uid: str = Field(default="", alias="DICOMStudyInstanceUID")
    study_description: str = Field(default="", alias="DICOMStudyDescription")
    accession_number: str = Field(default="", alias="DICOMAccessionNumber")
    study_date: str = Field(default="", alias="DICOMStudyDate")
    study_time: str = Field(default="", alias="DICOMStudyTime")
    series_instance_uid: str = Field(default="", alias="DICOMSeriesInstanceUID")
    modality: str = Field(default="", alias="DICOMSeriesModality")
    body_part_examined: str = Field(default="", alias="DICOMSeriesBodyPart")
    series_number: int | None = Field(default=None, alias="DICOMSeriesNumber")
    number_of_study_related_instances: int = Field(
        default=0, ge=0, alias="DICOMNumberOfStudyRelatedInstances"
    )


class ImageSetRow(BaseModel):
    """One image set that a search found; one without `isPrimary` is from before there was any."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    image_set_id: ImageSetId = Field(alias="imageSetId")
    version: int = Field(default=1, ge=0)
    is_primary: bool = Field(default=True, alias="isPrimary")
    updated_at: AwareDatetime | None = Field(default=None, alias="updatedAt")
    tags: _Tags = Field(default=_Tags(), alias="DICOMTags")

    @property
    def has_proper_uids(self) -> bool:
        """Tell whether its study and series can be addressed at all."""
        return is_uid(self.tags.study_instance_uid) and is_uid(self.tags.series_instance_uid)

    @property
    def standing(self) -> tuple[bool, float, int]:
        """A sort key: of two sets of one series, the one to take is the greater."""
        updated_s = self.updated_at.timestamp() if self.updated_at else 0.0
        return self.is_primary, updated_s, self.version


class _Page(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    rows: tuple[ImageSetRow, ...] = Field(alias="imageSetsMetadataSummaries")


def read_rows(page: Mapping[str, Any]) -> tuple[ImageSetRow, ...]:
    """The rows of one page of the answer.

    Raises:
        CorruptPayloadError: a field is missing or malformed; the message names it.
    """
    try:
        return _Page.model_validate(page).rows
    except ValidationError as error:
        raise CorruptPayloadError(f"SearchImageSets answer: {place_of(error)}") from None


def studies_of(
    rows: Iterable[ImageSetRow], objects: Iterable[StudyObject]
) -> tuple[StudyRecord, ...]:
    """The studies that the rows are of, each series once.

    Args:
        rows: all with proper UIDs.
        objects: what QIDO-RS tells of some of the studies: the issuer and procedure codes.
    """
    by_study: dict[str, list[ImageSetRow]] = defaultdict(list)
    for row in rows:
        by_study[row.tags.study_instance_uid].append(row)
    known = {one.study_instance_uid.text: one for one in objects}
    return tuple(
        _study(sorted(found, key=lambda row: row.standing, reverse=True), known.get(uid))
        for uid, found in by_study.items()
    )


def _study(rows: list[ImageSetRow], known: StudyObject | None) -> StudyRecord:
    """A study as its best row has it; rows that name another patient are not of it."""
    tags = rows[0].tags
    patient_id = text_of(tags.patient_id)
    if known is None or known.patient.patient_id != patient_id:
        known = StudyObject()
    series: dict[str, SeriesRecord] = {}
    for row in rows:
        if text_of(row.tags.patient_id) == patient_id:
            series.setdefault(row.tags.series_instance_uid, _series(row))
    return StudyRecord(
        study_instance_uid=tags.study_instance_uid,
        patient=PatientKey(
            patient_id=patient_id, issuer_of_patient_id=known.patient.issuer_of_patient_id
        ),
        patient_name=text_of(tags.patient_name),
        patient_birth_date=date_of(tags.patient_birth_date),
        patient_sex=text_of(tags.patient_sex),
        study_date=date_of(tags.study_date),
        study_time=time_of(tags.study_time),
        study_description=text_of(tags.study_description),
        accession_number=text_of(tags.accession_number),
        procedure_codes=known.procedure_codes,
        modalities_in_study=tuple(sorted({one.modality for one in series.values()} - {""})),
        number_of_study_related_instances=max(
            row.tags.number_of_study_related_instances for row in rows
        ),
        series=tuple(sorted(series.values(), key=_in_order)),
    )


def _series(row: ImageSetRow) -> SeriesRecord:
    tags = row.tags
    return SeriesRecord(
        pointer=SeriesPointer(
            study_instance_uid=tags.study_instance_uid,
            series_instance_uid=tags.series_instance_uid,
            image_set_id=row.image_set_id,
            version_id=row.version,
        ),
        modality=text_of(tags.modality),
        body_part_examined=text_of(tags.body_part_examined),
        series_number=tags.series_number,
        is_primary=row.is_primary,
    )


def _in_order(series: SeriesRecord) -> tuple[bool, int, str]:
    number = series.series_number
    return number is None, number or 0, series.pointer.series_instance_uid
