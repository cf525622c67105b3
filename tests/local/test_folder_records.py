"""local.folder_records: a folder's studies read as a search of an archive would tell them."""

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from teleprefetch.local.dicom_folder import read_folder
from teleprefetch.local.folder_records import record_of

CT = UID("1.2.840.10008.5.1.4.1.1.2")


def a_file(folder: Path, number: int, **values: object) -> None:
    dataset = Dataset()
    attributes = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"1.2.3.{number}",
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
        "PatientID": "A",
        "IssuerOfPatientID": "H",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyDate": "20250101",
        "StudyTime": "101112",
        "StudyDescription": "CT KNEE LT",
        "Modality": "CT",
        **values,
    }
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
    dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def a_code(value: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "99X", "words"
    return code


def test_a_study_is_told_with_its_series_and_whose_it_is(tmp_path: Path) -> None:
    a_file(
        tmp_path, 1, SeriesNumber=2, BodyPartExamined="KNEE", Laterality="L",
        SeriesDescription="bone", ProcedureCodeSequence=[a_code("K71"), a_code("K72")],
    )  # fmt: skip
    a_file(tmp_path, 2, SeriesNumber=2, BodyPartExamined="KNEE")
    a_file(tmp_path, 3, SeriesInstanceUID="1.2.1.2", Modality="SR", SeriesNumber=None)

    (study,) = read_folder(tmp_path).studies
    record = record_of(study)

    assert (record.patient.patient_id, record.patient.issuer_of_patient_id) == ("A", "H")
    assert (record.patient_name, record.patient_birth_date, record.patient_sex) == (
        "Doe^Jane", "19700101", "F",
    )  # fmt: skip
    assert (record.study_date, record.study_time) == ("20250101", "101112")
    assert (record.study_description, record.procedure_codes) == ("CT KNEE LT", ("K71", "K72"))
    assert record.modalities_in_study == ("CT", "SR")
    assert record.number_of_study_related_instances == 3
    knee, report = record.series
    assert (knee.modality, knee.body_part_examined, knee.laterality) == ("CT", "KNEE", "L")
    assert (knee.series_description, knee.series_number, knee.number_of_instances) == ("bone", 2, 2)
    assert (report.modality, report.series_number, report.number_of_instances) == ("SR", None, 1)


def test_a_header_without_any_of_it_is_still_a_study(tmp_path: Path) -> None:
    bare = dict.fromkeys(
        ("IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate",
         "StudyTime", "StudyDescription", "Modality")
    )  # fmt: skip
    a_file(tmp_path, 1, **bare)

    (study,) = read_folder(tmp_path).studies
    record = record_of(study)

    assert (record.study_date, record.study_description, record.procedure_codes) == ("", "", ())
    assert record.series[0].number_of_instances == 1
