"""local.dicom_folder: a user's own folder is read without surprise, and nobody is mixed up."""

import os
import shutil
import struct
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.dicom_folder import FolderArchive, choose_current, read_folder
from teleprefetch.local.dicom_header import Header, Unusable, read_header
from teleprefetch.local.samples import write_samples

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT = UID("1.2.840.10008.5.1.4.1.1.2")


def a_file(path: Path, *, preamble: bool = True, **values: object) -> Path:
    """A small instance; an attribute given as None is left out."""
    number = sum(map(ord, path.name)) * 1000 + len(str(path))
    dataset = Dataset()
    attributes = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"1.2.3.{number}",
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
        "PatientID": "A",
        "StudyDate": "20250101",
        "Modality": "CT",
        **values,
    }
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    if preamble:
        dataset.file_meta.MediaStorageSOPClassUID = CT
        dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
        dataset.save_as(path, enforce_file_format=True)
    else:
        del dataset.file_meta
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    return path


def refused(archive: FolderArchive) -> dict[str, str]:
    return {file.name: file.reason for file in archive.refused}


def test_files_are_found_at_any_depth_under_any_name_and_grouped_by_study(tmp_path: Path) -> None:
    first = a_file(tmp_path / "IM0001", StudyInstanceUID="1.2.1")
    deep = a_file(tmp_path / "a" / "b c" / "scan.jpg", StudyInstanceUID="1.2.1", Modality="SR")
    other = a_file(tmp_path / "z.dcm", StudyInstanceUID="1.2.2", StudyDate="20260101")

    newest, older = read_folder(tmp_path).studies

    assert newest.files == (other,)
    assert set(older.files) == {first, deep}
    assert older.modalities == ("CT", "SR")


def test_what_is_no_instance_is_listed_and_left_alone(tmp_path: Path) -> None:
    a_file(tmp_path / "one.dcm")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    shutil.copy(PYDICOM_FILES / "dicomdirtests" / "DICOMDIR", tmp_path / "DICOMDIR")

    archive = read_folder(tmp_path)

    assert archive.ignored == ("DICOMDIR", "empty", "notes.txt")
    assert archive.refused == ()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    a_file(tmp_path / "one.dcm")
    os.mkfifo(tmp_path / "pipe")

    assert read_folder(tmp_path).ignored == ("pipe",)


def test_a_file_without_preamble_is_read_if_it_holds_a_data_set(tmp_path: Path) -> None:
    bare = a_file(tmp_path / "bare", preamble=False)
    (tmp_path / "noise").write_bytes(b"\x08\x00\x05\x00CS\x04\x00ABCD" + bytes(40))

    archive = read_folder(tmp_path)

    assert archive.studies[0].files == (bare,)
    assert archive.ignored == ("noise",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"StudyInstanceUID": None}, "StudyInstanceUID: missing"),
        ({"StudyInstanceUID": ""}, "StudyInstanceUID: missing"),
        ({"StudyInstanceUID": ["1.2.1", "1.2.2"]}, "StudyInstanceUID: more than one value"),
        ({"SeriesInstanceUID": None}, "SeriesInstanceUID: missing"),
        ({"SOPInstanceUID": "1.02.3"}, "SOPInstanceUID: not a DICOM UID (PS3.5 9.1)"),
        ({"SOPClassUID": None}, "SOPClassUID: missing"),
        ({"PatientID": None}, "PatientID: missing, so that nobody can tell whose priors these are"),
        ({"PatientID": " "}, "PatientID: missing, so that nobody can tell whose priors these are"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_file_is_refused_by_the_name_of_the_wrong_field(
    tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    a_file(tmp_path / "good.dcm")
    a_file(tmp_path / "bad.dcm", **values)

    assert refused(read_folder(tmp_path)) == {"bad.dcm": reason}


def test_a_newline_in_a_uid_is_refused_and_not_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_file(tmp_path / "good.dcm")
    bad = a_file(tmp_path / "bad.dcm", StudyInstanceUID="1.2.34567")
    bad.write_bytes(bad.read_bytes().replace(b"1.2.34567\0", b"1.2.34567\n"))

    reasons = refused(read_folder(tmp_path))

    assert reasons == {"bad.dcm": "StudyInstanceUID: not a DICOM UID (PS3.5 9.1)"}
    assert "34567" not in caplog.text


def test_an_instance_that_two_studies_claim_is_refused_in_both(tmp_path: Path) -> None:
    a_file(tmp_path / "good.dcm")
    a_file(tmp_path / "x.dcm", SOPInstanceUID="1.5", StudyInstanceUID="1.2.1")
    a_file(tmp_path / "y.dcm", SOPInstanceUID="1.5", StudyInstanceUID="1.2.2")

    archive = read_folder(tmp_path)

    reason = "StudyInstanceUID: more than one for the same instance"
    assert refused(archive) == {"x.dcm": reason, "y.dcm": reason}
    assert len(archive.studies) == 1


def test_a_study_that_two_patients_claim_is_refused_as_a_whole(tmp_path: Path) -> None:
    a_file(tmp_path / "good.dcm", StudyInstanceUID="1.2.9")
    a_file(tmp_path / "x.dcm", PatientID="A")
    a_file(tmp_path / "y.dcm", PatientID="B")

    archive = read_folder(tmp_path)

    reason = "PatientID: more than one in the same study"
    assert refused(archive) == {"x.dcm": reason, "y.dcm": reason}
    assert [study.study_instance_uid for study in archive.studies] == ["1.2.9"]


def test_a_copy_is_taken_once(tmp_path: Path) -> None:
    first = a_file(tmp_path / "a.dcm")
    shutil.copy(first, tmp_path / "copy of a.dcm")

    archive = read_folder(tmp_path)

    assert archive.studies[0].files == (first,)
    assert refused(archive) == {"copy of a.dcm": "SOPInstanceUID: the same as in an earlier file"}


def test_the_same_id_from_two_issuers_is_two_patients(tmp_path: Path) -> None:
    a_file(tmp_path / "a.dcm", StudyInstanceUID="1.2.1", IssuerOfPatientID="X")
    a_file(tmp_path / "b.dcm", StudyInstanceUID="1.2.2", IssuerOfPatientID="Y")

    choice = choose_current(read_folder(tmp_path), "1.2.1")

    assert choice.priors == ()
    assert [study.study_instance_uid for study in choice.others] == ["1.2.2"]


def test_the_newest_study_of_the_patient_with_most_studies_is_current(tmp_path: Path) -> None:
    a_file(tmp_path / "1", StudyInstanceUID="1.1", StudyDate="20240101", StudyTime="0900")
    a_file(tmp_path / "2", StudyInstanceUID="1.2", StudyDate="20240101", StudyTime="100000.5")
    a_file(tmp_path / "3", StudyInstanceUID="1.3", StudyDate=None)
    a_file(tmp_path / "4", StudyInstanceUID="1.4", StudyDate="20260101", PatientID="B")

    choice = choose_current(read_folder(tmp_path), None)

    assert choice.current.study_instance_uid == "1.2"
    assert [study.study_instance_uid for study in choice.priors] == ["1.1", "1.3"]
    assert [study.study_instance_uid for study in choice.others] == ["1.4"]


def test_the_named_study_is_current_even_if_it_is_old(tmp_path: Path) -> None:
    a_file(tmp_path / "1", StudyInstanceUID="1.1", StudyDate="20240101")
    a_file(tmp_path / "2", StudyInstanceUID="1.2", StudyDate="20250101")

    assert choose_current(read_folder(tmp_path), "1.1").current.study_date == "20240101"


@pytest.mark.parametrize("name", ["1.2.777", "", "1.2.1\n", "../1.2.1"])
def test_a_study_that_is_not_there_is_an_error_naming_the_option(tmp_path: Path, name: str) -> None:
    a_file(tmp_path / "1")

    with pytest.raises(InvalidPayloadError, match=r"^--study: ") as caught:
        choose_current(read_folder(tmp_path), name)

    assert "777" not in str(caught.value)


def test_a_folder_without_studies_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^folder: not an existing folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(InvalidPayloadError, match=r"^folder: empty"):
        read_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidPayloadError, match="none of its 1 files is a DICOM instance"):
        read_folder(tmp_path)
    a_file(tmp_path / "bad.dcm", StudyInstanceUID=None)
    with pytest.raises(InvalidPayloadError, match=r"all 1 DICOM files refused.*StudyInstanceUID"):
        read_folder(tmp_path)


def test_pydicoms_own_odd_files_are_read_without_a_crash() -> None:
    archive = read_folder(PYDICOM_FILES)

    taken = sum(len(study.files) for study in archive.studies)
    every = sum(1 for path in PYDICOM_FILES.rglob("*") if path.is_file())
    assert taken + len(archive.refused) + len(archive.ignored) == every
    assert len(archive.studies) > 15
    assert "dicomdirtests/DICOMDIR" in archive.ignored
    assert refused(archive)["JPEGLSNearLossless_08.dcm"] == "StudyInstanceUID: missing"


def test_sequences_nested_without_end_are_damage(tmp_path: Path) -> None:
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    nested = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    nested += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path = tmp_path / "deep"
    path.write_bytes(bytes(128) + b"DICM" + meta + nested * 5000)

    assert read_header(path) == Unusable("file: damaged, its header cannot be parsed")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_header_is_never_more_than_unusable(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((PYDICOM_FILES / "MR_small.dcm").read_bytes()[:1600])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])

    assert isinstance(read_header(path), Header | Unusable | None)


def test_the_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    samples = write_samples(tmp_path, today=date(2026, 3, 2), scale=0.04)

    choice = choose_current(read_folder(tmp_path))

    assert choice.current.study_instance_uid == samples.current.study_instance_uid
    assert {study.study_instance_uid for study in choice.priors} == {
        study.study_instance_uid for study in samples.priors
    }
    assert [study.study_instance_uid for study in choice.others] == [
        samples.stranger.study_instance_uid
    ]
