import json
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from teleprefetch.local.healthimaging import ImportSettings, Settings
from teleprefetch.local.healthimaging.imports import ManifestTiming
from tests.local.healthimaging_fixtures import (
    DATASTORE,
    FILES,
    ROLE,
    Slice,
    bench,
    bundled,
    refused,
    until,
)

HTJ2K = "1.2.840.10008.1.2.4.202"
LITTLE = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.91"

DECODERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    HTJ2K: imagecodecs.htj2k_decode,
    JPEG: imagecodecs.jpeg8_decode,
    J2K: imagecodecs.jpeg2k_decode,
    LITTLE: lambda content: np.frombuffer(content, np.uint8),
}
CONTENT_TYPES = {
    HTJ2K: "image/jph",
    JPEG: "image/jpeg",
    J2K: "image/j2c",
    LITTLE: "application/octet-stream",
}


def test_a_job_says_what_became_of_every_file() -> None:
    with bench() as running:
        summary = running.imports(
            {
                "ct.dcm": bundled("CT_small.dcm"),
                "sr.dcm": bundled("reportsi.dcm"),
                "cut.dcm": bundled("MR_truncated.dcm"),
                "letter.txt": b"not DICOM",
            }
        )
        assert summary["numberOfScannedFiles"] == 4
        assert summary["numberOfImportedFiles"] == 3
        assert summary["numberOfFilesWithCustomerError"] == 1
        assert summary["numberOfFilesWithServerError"] == 0
        assert summary["numberOfGeneratedImageSets"] == len(summary["imageSetsSummary"]) == 3
        assert summary["successOutputS3Uri"] == summary["outputS3Uri"] + "SUCCESS/"
        (failure,) = running.lines(summary, "FAILURE/failure.ndjson")
        assert failure == {
            "inputFile": "in/letter.txt",
            "exception": {
                "exceptionType": "ValidationException",
                "message": "The file is not a DICOM P10 file",
            },
        }
        (warning,) = running.lines(summary, "WARNING/warning.ndjson")
        assert warning["inputFile"] == "in/cut.dcm"
        assert warning["importResponse"]["imageSetVersion"] == 1
        (reason,) = warning["importResponse"]["warnings"]
        assert (reason["warning_reason_code"], reason["type"]) == (45328, "FramesExtractionFailure")
        successes = running.lines(summary, "SUCCESS/success.ndjson")
        ids = {line["inputFile"]: line["importResponse"]["imageSetId"] for line in successes}
        assert set(ids) == {"in/ct.dcm", "in/sr.dcm", "in/cut.dcm"}
        for name in ("in/sr.dcm", "in/cut.dcm"):
            (instance,) = running.instances(ids[name]).values()
            assert "ImageFrames" not in instance


def test_reimporting_an_instance_adds_a_version_with_the_new_pixels() -> None:
    with bench() as running:
        before = running.imports({"a.dcm": Slice().p10()}, prefix="one/")
        pixels = np.full((32, 40), 7, np.int16)
        other = Slice(instance="1.2.3.1.2", number=2).p10()
        after = running.imports(
            {"a.dcm": Slice(pixels=pixels).p10(), "b.dcm": other}, prefix="two/"
        )
        (old,), (new,) = before["imageSetsSummary"], after["imageSetsSummary"]
        assert new["imageSetId"] == old["imageSetId"]
        assert (old["imageSetVersion"], new["imageSetVersion"]) == (1, 2)
        assert new["numberOfMatchedSOPInstances"] == 2
        (row,) = running.image_sets()
        assert row["version"] == 2
        image_set_id = new["imageSetId"]
        first = running.instances(image_set_id, versionId="1")["1.2.3.1.1"]["ImageFrames"][0]
        second = running.instances(image_set_id)["1.2.3.1.1"]["ImageFrames"][0]
        assert first["ID"] != second["ID"]
        assert (second["MinPixelValue"], second["MaxPixelValue"]) == (7, 7)
        assert running.frame(image_set_id, first["ID"])[0]


@pytest.mark.parametrize(
    "conflicting",
    [
        Slice(instance="1.2.3.1.9", patient_id="P2"),
        Slice(instance="1.2.3.1.9", accession="A2"),
        Slice(instance="1.2.3.1.9", study_date="20230101"),
        Slice(instance="1.2.3.1.9", extra={"StudyID": "S2"}),
        Slice(instance="1.2.3.1.9", series_number="2"),
        Slice(instance="1.2.3.1.9", study="1.2.4"),
        Slice(instance="1.2.3.2.9", series="1.2.3.2", patient_id="P2"),
    ],
    ids=["patient", "accession", "date", "study id", "series number", "study", "other series"],
)
def test_what_conflicts_goes_to_an_image_set_that_is_not_primary(conflicting: Slice) -> None:
    with bench() as running:
        running.imports({"a.dcm": Slice().p10()}, prefix="one/")
        summary = running.imports({"b.dcm": conflicting.p10()}, prefix="two/")
        (image_set,) = summary["imageSetsSummary"]
        assert image_set["isPrimary"] is False
        (line,) = running.lines(summary, "SUCCESS/success.ndjson")
        assert line["importResponse"]["isPrimary"] is False
        assert sorted(row["isPrimary"] for row in running.image_sets()) == [False, True]


def test_other_series_of_a_study_are_primary_too() -> None:
    with bench() as running:
        summary = running.imports(
            {
                "a.dcm": Slice().p10(),
                "b.dcm": Slice(series="1.2.3.2", instance="1.2.3.2.1", series_number="2").p10(),
            }
        )
        assert [row["isPrimary"] for row in summary["imageSetsSummary"]] == [True, True]


def test_a_job_without_files_or_with_too_many_fails_and_says_so() -> None:
    settings = Settings(imports=ImportSettings(max_files=2))
    with bench(settings=settings) as running:
        empty = running.finished(running.start("nothing/", job="1"))
        assert (empty["jobStatus"], empty["message"]) == (
            "FAILED",
            "No files found at inputS3Uri",
        )
        running.put({str(number): b"" for number in range(3)})
        many = running.finished(running.start(job="2"))
        assert many["message"] == "More than 2 files at inputS3Uri"
        assert "endedAt" in many
        failed = running.client.list_dicom_import_jobs(datastoreId=DATASTORE, jobStatus="FAILED")
        assert [job["jobId"] for job in failed["jobSummaries"]] == [many["jobId"], empty["jobId"]]
        assert not running.client.list_dicom_import_jobs(
            datastoreId=DATASTORE, jobStatus="COMPLETED"
        )["jobSummaries"]
        assert [event["detail-type"] for event in running.events(6)].count("Import Job Failed") == 2


def test_a_job_fails_when_the_output_bucket_is_missing() -> None:
    with bench() as running:
        running.put({"a.dcm": Slice().p10()})
        job_id = running.client.start_dicom_import_job(
            datastoreId=DATASTORE,
            dataAccessRoleArn=ROLE,
            clientToken="t",
            inputS3Uri="s3://input/in/",
            outputS3Uri="s3://absent/out/",
        )["jobId"]
        job = running.finished(job_id)
        assert (job["jobStatus"], job["message"]) == ("FAILED", "S3 refused: NoSuchBucket")


def test_the_same_client_token_starts_one_job() -> None:
    with bench() as running:
        running.put({"a.dcm": Slice().p10()})
        job_id = running.start(job="same")
        assert running.start(job="same") == job_id
        with refused(409, "ConflictException"):
            running.start("elsewhere/", job="same")
        running.finished(job_id)
        jobs = running.client.list_dicom_import_jobs(datastoreId=DATASTORE)["jobSummaries"]
        assert [job["jobId"] for job in jobs] == [job_id]


def test_jobs_are_listed_newest_first_page_by_page() -> None:
    with bench() as running:
        started = [running.start("nothing/", job=str(number)) for number in range(3)]
        pages = running.client.get_paginator("list_dicom_import_jobs").paginate(
            datastoreId=DATASTORE, PaginationConfig={"PageSize": 2}
        )
        found = [[job["jobId"] for job in page["jobSummaries"]] for page in pages]
        assert found == [[started[2], started[1]], [started[0]]]


@pytest.mark.parametrize("timing", ["after-event", "half-written"])
def test_a_manifest_can_be_late_for_the_event(timing: ManifestTiming) -> None:
    settings = Settings(imports=ImportSettings(manifest=timing, manifest_delay_s=600))
    with bench(settings=settings) as running:
        running.put({"a.dcm": Slice().p10()})
        job = running.finished(running.start())
        folder = running.s3.list_objects_v2(Bucket="output")["Contents"]
        names = {entry["Key"].rpartition("/")[2] for entry in folder}
        assert ("job-output-manifest.json" in names) is (timing == "half-written")
        if timing == "half-written":
            with pytest.raises(json.JSONDecodeError):
                json.loads(running.output(job, "job-output-manifest.json"))


@pytest.mark.parametrize("timing", ["after-event", "half-written"])
def test_a_late_manifest_comes_whole(timing: ManifestTiming) -> None:
    settings = Settings(imports=ImportSettings(manifest=timing, manifest_delay_s=0.01))
    with bench(settings=settings) as running:
        running.put({"a.dcm": Slice().p10()})
        job = running.finished(running.start())

        def whole() -> bool:
            keys = [e["Key"] for e in running.s3.list_objects_v2(Bucket="output")["Contents"]]
            if not any(key.endswith("job-output-manifest.json") for key in keys):
                return False
            return running.output(job, "job-output-manifest.json").endswith(b"}")

        until(whole)
        assert json.loads(running.output(job, "job-output-manifest.json"))["jobSummary"]


def test_a_manifest_can_be_missing_for_good() -> None:
    with bench(settings=Settings(imports=ImportSettings(manifest="missing"))) as running:
        running.put({"a.dcm": Slice().p10()})
        running.finished(running.start())
        keys = [entry["Key"] for entry in running.s3.list_objects_v2(Bucket="output")["Contents"]]
        assert len(keys) == 3
        assert all(key.endswith(".ndjson") for key in keys)


def test_every_bundled_file_is_accounted_for() -> None:
    files = {path.name: path.read_bytes() for path in FILES.rglob("*.dcm")}
    with bench() as running:
        summary = running.imports(files)
        assert summary["numberOfScannedFiles"] == len(files)
        lines = [
            line["inputFile"]
            for name in ("SUCCESS/success.ndjson", "FAILURE/failure.ndjson")
            for line in running.lines(summary, name)
        ]
        assert sorted(lines) == sorted(f"in/{name}" for name in files)
        for row in running.image_sets():
            for instance in running.instances(row["imageSetId"]).values():
                for frame in instance.get("ImageFrames", ()):
                    content, content_type = running.frame(row["imageSetId"], frame["ID"])
                    stored_as = instance["StoredTransferSyntaxUID"]
                    assert content_type == CONTENT_TYPES[stored_as]
                    (level,) = frame["PixelDataChecksumFromBaseToFullResolution"]
                    pixels = DECODERS[stored_as](content)
                    assert level["Checksum"] == zlib.crc32(pixels.tobytes())
