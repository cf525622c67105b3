"""What every `Origin` does alike: a fake, a DICOMweb archive, Orthanc and HealthImaging."""

import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import boto3
import imagecodecs
import pytest
from moto import mock_aws

from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.adapters.origins import OpenFetcher, open_origins
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.dicom import HTJ2K_LOSSLESS_RPCL
from teleprefetch.errors import InvalidPayloadError, StudyNotFoundError
from teleprefetch.local.healthimaging import HealthImaging, Throttles
from teleprefetch.model import Frame, FrameEntry, PatientKey, SeriesPointer
from teleprefetch.ports import Origin
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin, OriginSettings
from tests.archive_files import (
    NAMESAKE_ID,
    OTHER_ISSUER,
    PATIENT_ID,
    PATIENT_NAME,
    ArchiveFile,
    Corpus,
    real_corpus,
)
from tests.dicomweb_server import run_dicomweb_server
from tests.fake_origin import FakeOrigin
from tests.orthanc import run_orthanc, store

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

DATASTORE = "0123456789abcdef0123456789abcdef"
IMPORTED_WITHIN_S = 60.0
PATIENT = PatientKey(patient_id=PATIENT_ID)


class Held(NamedTuple):
    """An origin and the files that it holds."""

    origin: Origin
    corpus: Corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return real_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "dicomweb",
        "dicomweb over libcurl",
        "orthanc",
        "healthimaging",
        "healthimaging over libcurl",
    ],
)
def held(
    request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Held]:
    directory = tmp_path_factory.mktemp("archive")
    archive = {
        "fake": a_fake,
        "dicomweb": a_dicomweb_archive,
        "dicomweb over libcurl": partial(a_dicomweb_archive, open_fetcher=Transfers),
        "orthanc": an_orthanc,
        "healthimaging": a_data_store,
        "healthimaging over libcurl": partial(a_data_store, open_fetcher=Transfers),
    }[request.param]
    with archive(corpus, directory) as origin:
        yield Held(origin, corpus)


@contextmanager
def opened(
    origin_id: str, settings: OriginSettings, open_fetcher: OpenFetcher = HttpReader
) -> Iterator[Origin]:
    with closing(
        open_origins({origin_id: settings}, retries=NO_RETRIES, open_fetcher=open_fetcher)
    ) as origins:
        yield origins[origin_id]


@contextmanager
def a_dicomweb_archive(
    corpus: Corpus, _: Path, open_fetcher: OpenFetcher = HttpReader
) -> Iterator[Origin]:
    with (
        run_dicomweb_server(corpus) as server,
        opened("archive", DicomwebOrigin(kind="dicomweb", url=server.url), open_fetcher) as origin,
    ):
        yield origin


@contextmanager
def an_orthanc(corpus: Corpus, directory: Path) -> Iterator[Origin]:
    with run_orthanc(directory) as url:
        store(url, [file.path for file in corpus.files])
        settings = DicomwebOrigin(kind="dicomweb", url=url)
        with opened("archive", settings, Transfers) as origin:
            yield origin


@contextmanager
def a_fake(corpus: Corpus, directory: Path) -> Iterator[Origin]:
    """A fake that holds what a DICOMweb archive tells of the same files."""
    fake = FakeOrigin()
    with a_dicomweb_archive(corpus, directory) as archive:
        for study in map(archive.search_for_study, sorted(corpus.study_uids())):
            for series in study.series:
                pointer = series.pointer
                metadata = archive.retrieve_series_metadata(pointer)
                frames = {
                    entry: archive.retrieve_frame(pointer, entry) for entry in metadata.frames
                }
                fake.hold_series(metadata, frames.__getitem__)
            fake.hold(study)
    yield fake


@contextmanager
def a_data_store(
    corpus: Corpus, _: Path, open_fetcher: OpenFetcher = HttpReader
) -> Iterator[Origin]:
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_ACCESS_KEY_ID", "local")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.delenv("AWS_SESSION_TOKEN", raising=False)
        environment.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="dicom")
        for number, file in enumerate(corpus.files):
            key = f"in/{number:04}.dcm"
            s3.put_object(Bucket="dicom", Key=key, Body=file.path.read_bytes())
        events = boto3.client("events", region_name="us-east-1")
        with HealthImaging(
            s3=s3,
            events=events,
            datastore_id=DATASTORE,
            credentials={"local": "secret"},
            throttles=Throttles(),
        ) as service:
            environment.setenv("AWS_ENDPOINT_URL_MEDICAL_IMAGING", service.url)
            import_all(boto3.client("medical-imaging", region_name="us-east-1"))
            settings = HealthImagingOrigin(kind="healthimaging", dicomweb_url=service.url)
            with opened(DATASTORE, settings, open_fetcher) as origin:
                yield origin


def import_all(client: "HealthImagingClient") -> None:
    job_id = client.start_dicom_import_job(
        datastoreId=DATASTORE,
        dataAccessRoleArn="arn:aws:iam::123456789012:role/import",
        clientToken="contract",
        inputS3Uri="s3://dicom/in/",
        outputS3Uri="s3://dicom/out/",
    )["jobId"]
    give_up_at = time.monotonic() + IMPORTED_WITHIN_S
    while True:
        job = client.get_dicom_import_job(datastoreId=DATASTORE, jobId=job_id)["jobProperties"]
        if job["jobStatus"] in {"COMPLETED", "FAILED"}:
            break
        assert time.monotonic() < give_up_at, "the import does not end"
        time.sleep(0.05)
    client.close()
    assert job["jobStatus"] == "COMPLETED"


def series_pointers(held: Held) -> Iterator[SeriesPointer]:
    for uid in sorted(held.corpus.study_uids()):
        for series in held.origin.search_for_study(uid).series:
            yield series.pointer


def the_series_of(held: Held, file: ArchiveFile) -> SeriesPointer:
    study = held.origin.search_for_study(file.dataset.StudyInstanceUID)
    (pointer,) = (
        series.pointer
        for series in study.series
        if series.pointer.series_instance_uid == file.dataset.SeriesInstanceUID
    )
    return pointer


def the_file(held: Held, name: str) -> ArchiveFile:
    (file,) = (file for file in held.corpus.files if file.path.name == name)
    return file


def assert_is_the_file_s(frame: Frame, entry: FrameEntry, file: ArchiveFile) -> None:
    """Byte for byte; or, where the origin stores its own encoding, pixel for pixel."""
    if frame.transfer_syntax_uid == HTJ2K_LOSSLESS_RPCL:
        pixels = file.dataset.pixel_array
        if int(file.dataset.get("NumberOfFrames") or 1) > 1:
            pixels = pixels[entry.frame_number - 1]
        decoded = imagecodecs.htj2k_decode(frame.content)
        assert decoded.astype(pixels.dtype).tobytes() == pixels.tobytes()
        assert entry.crc32 == zlib.crc32(pixels.tobytes())
    else:
        assert frame.content.rstrip(b"\0") == file.frame(entry.frame_number).rstrip(b"\0")
        assert frame.transfer_syntax_uid == file.transfer_syntax_uid or not (
            file.transfer_syntax_uid.is_encapsulated
        )


def test_a_study_is_found_with_its_patient_and_all_its_series(held: Held) -> None:
    for uid in held.corpus.study_uids():
        file = next(held.corpus.where(StudyInstanceUID=uid))
        study = held.origin.search_for_study(uid)
        assert study.study_instance_uid == uid
        assert study.patient.patient_id == (file.dataset.get("PatientID") or "")
        assert study.patient_name == str(file.dataset.get("PatientName") or "")
        assert study.study_date == (file.dataset.get("StudyDate") or "")
        found = [series.pointer.series_instance_uid for series in study.series]
        assert sorted(found) == sorted(held.corpus.series_uids(StudyInstanceUID=uid))
        assert set(study.modalities_in_study) == {
            one.dataset.Modality for one in held.corpus.where(StudyInstanceUID=uid)
        }


def test_a_patient_s_studies_come_newest_first_and_no_namesake_s(held: Held) -> None:
    studies = held.origin.search_for_patient(PATIENT)
    expected = held.corpus.study_uids(PatientID=PATIENT_ID)
    assert len(studies) == len(expected)
    assert {study.study_instance_uid for study in studies} == expected
    dates = [study.study_date for study in studies]
    assert dates == sorted(dates, reverse=True)
    namesakes = held.corpus.study_uids(PatientID=NAMESAKE_ID, PatientName=PATIENT_NAME)
    assert len(namesakes) == 1
    assert not namesakes & {study.study_instance_uid for study in studies}


def test_a_patient_s_studies_are_the_same_as_when_searched_for_one_by_one(held: Held) -> None:
    for study in held.origin.search_for_patient(PATIENT):
        alone = held.origin.search_for_study(study.study_instance_uid)
        assert alone.patient == study.patient
        assert {one.pointer for one in alone.series} == {one.pointer for one in study.series}


def test_the_same_patient_id_of_another_issuer_is_another_patient(held: Held) -> None:
    elsewhere = held.corpus.study_uids(IssuerOfPatientID=OTHER_ISSUER)
    assert len(elsewhere) == 1
    here = PatientKey(patient_id=PATIENT_ID, issuer_of_patient_id="HERE")
    found = {study.study_instance_uid for study in held.origin.search_for_patient(here)}
    assert found == held.corpus.study_uids(PatientID=PATIENT_ID) - elsewhere


@pytest.mark.parametrize("patient_id", ["", "  ", "nobody", "*", "9889023?", "98890234*"])
def test_a_patient_who_is_not_there_has_no_studies(held: Held, patient_id: str) -> None:
    assert held.origin.search_for_patient(PatientKey(patient_id=patient_id)) == ()


def test_an_unknown_study_is_not_found(held: Held) -> None:
    with pytest.raises(StudyNotFoundError):
        held.origin.search_for_study("1.2.826.0.1.3680043.8.498.404")


@pytest.mark.parametrize("uid", ["", "../..", "1.2%2f3", "1.2\n", "1" * 65, "1.02"])
def test_what_is_no_uid_is_refused(held: Held, uid: str) -> None:
    with pytest.raises(InvalidPayloadError, match="study_instance_uid"):
        held.origin.search_for_study(uid)


def test_metadata_holds_every_instance_and_lists_every_frame_in_order(held: Held) -> None:
    for pointer in series_pointers(held):
        metadata = held.origin.retrieve_series_metadata(pointer)
        files = list(held.corpus.where(SeriesInstanceUID=pointer.series_instance_uid))
        told = [one["00080018"]["Value"][0] for one in json.loads(metadata.dicom_json)]
        assert sorted(told) == sorted(file.dataset.SOPInstanceUID for file in files)
        expected = [
            (file.dataset.SOPInstanceUID, number)
            for file in sorted(files, key=lambda one: int(one.dataset.get("InstanceNumber") or 0))
            for number in range(1, int(file.dataset.get("NumberOfFrames") or 1) + 1)
            if file.has_pixels
        ]
        assert metadata.series == pointer
        listed = [(one.sop_instance_uid, one.frame_number) for one in metadata.frames]
        assert (listed, metadata.without_frames) == (expected, 0)


def test_frames_are_those_of_the_files(held: Held) -> None:
    for pointer in series_pointers(held):
        for entry in held.origin.retrieve_series_metadata(pointer).frames:
            (file,) = held.corpus.where(SOPInstanceUID=entry.sop_instance_uid)
            frame = held.origin.retrieve_frame(pointer, entry)
            assert_is_the_file_s(frame, entry, file)


def test_a_compressed_frame_is_handed_on_as_it_is(held: Held) -> None:
    file = the_file(held, "JPEG2000.dcm")
    pointer = the_series_of(held, file)
    (entry,) = held.origin.retrieve_series_metadata(pointer).frames
    frame = held.origin.retrieve_frame(pointer, entry)
    assert frame.transfer_syntax_uid == file.transfer_syntax_uid
    assert frame.content.rstrip(b"\0") == file.frame(1).rstrip(b"\0")


def test_a_report_has_metadata_and_no_frames(held: Held) -> None:
    pointer = the_series_of(held, the_file(held, "test-SR.dcm"))
    metadata = held.origin.retrieve_series_metadata(pointer)
    assert (metadata.frames, metadata.without_frames) == ((), 0)
    assert json.loads(metadata.dicom_json)


def test_an_unknown_series_or_frame_is_not_found(held: Held) -> None:
    pointer = the_series_of(held, the_file(held, "CT_small.dcm"))
    unknown = pointer.model_copy(
        update={
            "series_instance_uid": "1.2.826.0.1.3680043.8.498.404",
            "image_set_id": pointer.image_set_id and "f" * 32,
        }
    )
    with pytest.raises(StudyNotFoundError):
        held.origin.retrieve_series_metadata(unknown)
    (entry,) = held.origin.retrieve_series_metadata(pointer).frames
    nowhere = entry.model_copy(
        update={
            "sop_instance_uid": "1.2.826.0.1.3680043.8.498.404",
            "image_frame_id": entry.image_frame_id and "f" * 32,
        }
    )
    with pytest.raises(StudyNotFoundError):
        held.origin.retrieve_frame(pointer, nowhere)


def test_many_threads_may_read_at_once(held: Held) -> None:
    file = the_file(held, "CT_small.dcm")
    pointer = the_series_of(held, file)
    (entry,) = held.origin.retrieve_series_metadata(pointer).frames
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda _: held.origin.retrieve_frame(pointer, entry), range(64)))
    assert len(set(frames)) == 1
    assert_is_the_file_s(frames[0], entry, file)
