"""A folder's studies as the records that a search of an archive would give."""

from collections import defaultdict

from teleprefetch.local.dicom_folder import FolderStudy
from teleprefetch.local.dicom_header import Header
from teleprefetch.model import SeriesPointer, SeriesRecord, StudyRecord


def record_of(study: FolderStudy) -> StudyRecord:
    """The record of a study, by the headers of its files."""
    first = study.headers[0]
    by_series: dict[str, list[Header]] = defaultdict(list)
    for header in study.headers:
        by_series[header.series_instance_uid].append(header)
    return StudyRecord(
        study_instance_uid=study.study_instance_uid,
        patient=study.patient,
        patient_name=first.patient_name,
        patient_birth_date=first.patient_birth_date,
        patient_sex=first.patient_sex,
        study_date=study.study_date,
        study_time=study.study_time,
        study_description=study.study_description,
        procedure_codes=first.procedure_codes,
        modalities_in_study=study.modalities,
        number_of_study_related_instances=len(study.headers),
        series=tuple(_series(headers) for _, headers in sorted(by_series.items())),
    )


def _series(headers: list[Header]) -> SeriesRecord:
    first = headers[0]
    return SeriesRecord(
        pointer=SeriesPointer(
            study_instance_uid=first.study_instance_uid,
            series_instance_uid=first.series_instance_uid,
            version_id=len(headers),
        ),
        modality=first.modality,
        body_part_examined=first.body_part_examined,
        series_description=first.series_description,
        laterality=first.laterality,
        series_number=first.series_number,
        number_of_instances=len(headers),
    )
