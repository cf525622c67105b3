"""The DICOMweb origin against a real archive: Orthanc, as Debian ships it."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.errors import CorruptPayloadError, OriginUnavailableError, StudyNotFoundError
from teleprefetch.model import PatientKey
from teleprefetch.ports import Origin
from teleprefetch.settings import DicomwebOrigin
from tests.archive_files import NAMESAKE_ID, PATIENT_ID, PATIENT_NAME, Corpus, real_corpus
from tests.orthanc import run_orthanc, store


class Archive(NamedTuple):
    url: str
    origin: Origin
    corpus: Corpus


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    corpus = real_corpus(tmp_path_factory.mktemp("corpus"))
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        store(url, [file.path for file in corpus.files])
        settings = {"orthanc": DicomwebOrigin(kind="dicomweb", url=url)}
        with closing(open_origins(settings, retries=NO_RETRIES)) as origins:
            yield Archive(url, origins["orthanc"], corpus)


def test_a_patient_s_studies_are_found_and_no_namesake_s(archive: Archive) -> None:
    studies = archive.origin.search_for_patient(PatientKey(patient_id=PATIENT_ID))
    found = {study.study_instance_uid for study in studies}
    assert found == archive.corpus.study_uids(PatientID=PATIENT_ID)
    (namesake,) = archive.origin.search_for_patient(PatientKey(patient_id=NAMESAKE_ID))
    assert namesake.patient_name == PATIENT_NAME
    assert namesake.study_instance_uid not in found


def test_searches_tell_what_ranking_needs(archive: Archive) -> None:
    (uid,) = archive.corpus.study_uids(StudyDescription="Carotids")
    study = archive.origin.search_for_study(uid)
    assert (study.study_description, study.study_date, study.study_time) == (
        "Carotids",
        "20030505",
        "050743",
    )
    assert study.modalities_in_study == ("MR",)
    files = list(archive.corpus.where(StudyInstanceUID=uid))
    assert sum(series.number_of_instances for series in study.series) == len(files)
    described = {str(file.dataset.get("SeriesDescription", "")) for file in files}
    assert {series.series_description for series in study.series} == described


def test_every_frame_is_byte_for_byte_the_file_s(archive: Archive) -> None:
    fetched = 0
    for uid in sorted(archive.corpus.study_uids()):
        for series in archive.origin.search_for_study(uid).series:
            metadata = archive.origin.retrieve_series_metadata(series.pointer)
            assert len(json.loads(metadata.dicom_json)) == series.number_of_instances
            for entry in metadata.frames:
                (file,) = archive.corpus.where(SOPInstanceUID=entry.sop_instance_uid)
                frame = archive.origin.retrieve_frame(series.pointer, entry)
                assert frame.content == file.frame(entry.frame_number)
                assert frame.transfer_syntax_uid == file.transfer_syntax_uid
                fetched += 1
    frames = [int(file.dataset.get("NumberOfFrames") or 1) for file in archive.corpus.files]
    reports = [file for file in archive.corpus.files if not file.has_pixels]
    assert fetched == sum(frames) - len(reports)


def test_an_unknown_study_is_not_found(archive: Archive) -> None:
    with pytest.raises(StudyNotFoundError):
        archive.origin.search_for_study("1.2.826.0.1.3680043.8.498.404")


def a_slice(target: Path, number: int) -> pydicom.Dataset:
    """A CT slice in a study of its own, not yet written."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    root = f"1.2.826.0.1.3680043.8.498.77.{len(target.name)}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = root, f"{root}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(
        f"{root}.1.{number}"
    )
    dataset.InstanceNumber = number
    return dataset


def test_another_instance_makes_another_version(archive: Archive, tmp_path: Path) -> None:
    versions = []
    for number in (1, 2):
        target = tmp_path / "another-instance"
        dataset = a_slice(target, number)
        dataset.save_as(target)
        store(archive.url, [target])
        (series,) = archive.origin.search_for_study(dataset.StudyInstanceUID).series
        versions.append(series.pointer.version_id)
        assert len(archive.origin.retrieve_series_metadata(series.pointer).frames) == number
    assert versions == [1, 2]


def test_htj2k_that_the_archive_mislabels_never_passes_as_pixels(
    archive: Archive, tmp_path: Path
) -> None:
    target = tmp_path / "high-throughput"
    dataset = a_slice(target, 1)
    codestream = bytes(imagecodecs.htj2k_encode(dataset.pixel_array.astype(np.int16)))
    dataset.file_meta.TransferSyntaxUID = UID(HTJ2K_LOSSLESS)
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(target)
    store(archive.url, [target])
    (series,) = archive.origin.search_for_study(dataset.StudyInstanceUID).series
    (entry,) = archive.origin.retrieve_series_metadata(series.pointer).frames
    try:
        frame = archive.origin.retrieve_frame(series.pointer, entry)
    except (CorruptPayloadError, OriginUnavailableError):
        return  # Orthanc 1.10 and 1.12 answer 500
    assert frame.transfer_syntax_uid == HTJ2K_LOSSLESS
    assert frame.content.rstrip(b"\0") == codestream.rstrip(b"\0")
