from typing import Any

import pytest

from teleprefetch.domain.dicom_json import StudyObject, read_studies
from teleprefetch.domain.image_set_search import ImageSetRow, read_rows, studies_of
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import StudyRecord

STUDY = "1.2.3"


def a_page(summary: dict[str, Any]) -> ImageSetRow:
    (row,) = read_rows({"imageSetsMetadataSummaries": [summary]})
    return row


def a_row(
    letter: str,
    series: str,
    *,
    version: int = 1,
    primary: bool = True,
    patient: str = "P1",
    study: str = STUDY,
    **tags: Any,
) -> ImageSetRow:
    return a_page(
        {
            "imageSetId": letter * 32,
            "version": version,
            "isPrimary": primary,
            "DICOMTags": {
                "DICOMPatientId": patient,
                "DICOMStudyInstanceUID": study,
                "DICOMSeriesInstanceUID": series,
                "DICOMSeriesModality": "CT",
                "DICOMStudyDate": "20240229",
                **tags,
            },
        }
    )


def ids(study: StudyRecord) -> list[str]:
    return [one.pointer.image_set_id or "" for one in study.series]


def test_rows_of_one_study_become_one_study_with_its_series_in_order():
    (study,) = studies_of(
        [a_row("a", "1.9", DICOMSeriesNumber=2), a_row("b", "1.8", DICOMSeriesNumber=1)], ()
    )
    assert ids(study) == ["b" * 32, "a" * 32]
    assert study.modalities_in_study == ("CT",)


def test_the_primary_image_set_stands_for_its_series():
    rows = [a_row("a", "1.9", primary=False, version=7), a_row("b", "1.9"), a_row("c", "1.8")]
    (study,) = studies_of(rows, ())
    assert sorted(ids(study)) == ["b" * 32, "c" * 32]


def test_without_a_primary_the_newest_stands_for_its_series():
    rows = [
        a_row("a", "1.9", primary=False, version=1),
        a_row("b", "1.9", primary=False, version=2),
    ]
    (study,) = studies_of(rows, ())
    assert ids(study) == ["b" * 32]
    assert not study.series[0].is_primary


def test_an_image_set_that_names_another_patient_is_not_of_the_study():
    rows = [a_row("a", "1.9"), a_row("b", "1.8", patient="P2", primary=False)]
    (study,) = studies_of(rows, ())
    assert ids(study) == ["a" * 32]
    assert study.patient.patient_id == "P1"


def an_object(patient: bytes) -> tuple[StudyObject, ...]:
    return read_studies(
        b'[{"0020000D": {"Value": ["1.2.3"]}, "00100021": {"Value": ["HOSPITAL"]},'
        b' "00081032": {"Value": [{"00080100": {"Value": ["CTHD"]}}]},'
        b' "00100020": {"Value": ["' + patient + b'"]}}]'
    )


def test_the_issuer_and_the_codes_come_from_the_dicomweb_search():
    (study,) = studies_of([a_row("a", "1.9")], an_object(b"P1"))
    assert study.patient.issuer_of_patient_id == "HOSPITAL"
    assert study.procedure_codes == ("CTHD",)


def test_what_dicomweb_tells_of_another_patient_is_not_taken():
    (study,) = studies_of([a_row("a", "1.9")], an_object(b"P2"))
    assert study.patient.issuer_of_patient_id == ""
    assert study.procedure_codes == ()


@pytest.mark.parametrize("page", [{}, {"imageSetsMetadataSummaries": [{"imageSetId": "DOE"}]}])
def test_a_malformed_page_is_named_without_its_content(page):
    with pytest.raises(CorruptPayloadError, match=r"imageSetsMetadataSummaries") as caught:
        read_rows(page)
    assert "DOE" not in str(caught.value)
