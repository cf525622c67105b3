"""The stack under what a site really sees: duplicates, throttling, deletions, odd files."""

import json
import threading
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pydicom
import pytest
import urllib3
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from teleprefetch import runtime
from teleprefetch.adapters.signing import Signer
from teleprefetch.edge.audit.reading import entries
from teleprefetch.local.stack import DATASTORE_ID, INPUT_BUCKET, OUTPUT_BUCKET
from teleprefetch.run_records import RunFilter
from tests.waiting import until


def test_an_import_of_history_warms_nothing_and_of_a_new_study_everything_it_needs(
    site: Any,
) -> None:
    site.import_files(site.samples.history, "history")
    assert site.stack.node.holdings()["series"] == []

    site.import_files(site.samples.current, "current")

    assert site.held(site.samples.study_instance_uid)
    assert all(
        series["frames_held"] == series["frames_verified"]
        for series in site.stack.node.holdings()["series"]
    )
    [stranger] = site.samples.strangers
    assert site.held(stranger) == []


def test_an_assignment_of_a_warm_study_asks_for_no_frame_again(site: Any) -> None:
    before = site.stack.data_store.request_log.count("GetImageFrame")

    site.assign("warm-1", site.samples.study_instance_uid, seconds=40)

    assert site.notice("warm-1").reason == "warm"
    assert site.stack.data_store.request_log.count("GetImageFrame") == before


def test_one_name_goes_from_the_event_to_the_frames_and_into_every_log(site: Any) -> None:
    imports = {json.loads(one["input"])["id"] for one in site.executions("Import")}
    assigned_id = site.notice("warm-1").event_id
    warmed = [one.event for one in entries(site.stack.audit_folder) if one.event.kind == "warmed"]
    functions, node = (
        (site.stack.folder / name).read_text() for name in ("functions.log", "node.log")
    )

    [import_id] = {one.event_id for one in warmed} - {assigned_id}
    assert import_id in imports
    assert len(import_id) == len(assigned_id) == len("6a7e8feb-b491-4cf7-a9f1-bf3703467718")
    for event_id in (import_id, assigned_id):
        assert f'"correlation_id":"{event_id}"' in functions.replace(": ", ":")
        assert f'"event_id": "{event_id}"' in node
        found = runtime.runs().find(RunFilter(event_id=event_id), limit=10)
        assert {"prefetch", "warm"} <= {run.kind for run in found}
        assert {run.study_instance_uid for run in found} <= {site.samples.study_instance_uid, None}


def test_the_same_import_event_fifty_times_at_once_starts_nothing_twice(site: Any) -> None:
    [job] = [
        job
        for job in boto3.client("medical-imaging").list_dicom_import_jobs(datastoreId=DATASTORE_ID)[
            "jobSummaries"
        ]
        if job["jobName"] == "current"
    ]
    detail = {
        "imagingVersion": "1.0",
        "datastoreId": DATASTORE_ID,
        "jobId": job["jobId"],
        "jobName": "current",
        "jobStatus": "COMPLETED",
        "inputS3Uri": f"s3://{INPUT_BUCKET}/current/",
        "outputS3Uri": f"s3://{OUTPUT_BUCKET}/",
    }
    prefetches = len(site.executions("Prefetch"))
    frames = site.stack.data_store.request_log.count("GetImageFrame")

    threads = [
        threading.Thread(
            target=site.send, args=("aws.medical-imaging", "Import Job Completed", detail)
        )
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.quiet()

    assert len(site.executions("Prefetch")) == prefetches
    assert site.stack.data_store.request_log.count("GetImageFrame") == frames


def test_nothing_personal_is_in_logs_states_and_names(site: Any) -> None:
    header = pydicom.dcmread(site.samples.current[0], stop_before_pixels=True)
    personal = [
        str(header.PatientName),
        str(header.PatientName.family_name),
        str(header.PatientID),
        str(header.PatientBirthDate),
        str(header.AccessionNumber),
        str(header.StudyDescription),
    ]
    told = [path.read_text() for path in site.stack.folder.glob("*.log")]
    for machine in ("Import", "Prefetch", "Assignment"):
        for execution in site.executions(machine):
            told += [str(execution.get(part)) for part in ("input", "output", "cause")]
            assert str(header.StudyInstanceUID) not in execution["name"]
    logs = "".join(told[:2])

    assert len(logs) > 1000
    assert str(header.StudyInstanceUID) not in logs
    assert [word for word in personal if any(word in text for text in told)] == []


def test_an_archive_that_refuses_everything_for_a_while_is_waited_for(site: Any, tmp_path: Path
) -> None:  # fmt: skip
    studies = {path: str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)
               for path in site.samples.history}  # fmt: skip
    uid = next(uid for uid in studies.values() if not site.held(uid))
    site.stack.data_store.throttle_all(6)

    site.assign("throttled-1", uid, seconds=55)

    assert site.notice("throttled-1").reason == "warm"


def test_a_deleted_image_set_is_gone_from_the_node(site: Any) -> None:
    series = site.held(site.samples.study_instance_uid)[0]

    boto3.client("medical-imaging").delete_image_set(
        datastoreId=DATASTORE_ID, imageSetId=series["image_set_id"]
    )

    def is_gone() -> bool:
        held = site.held(site.samples.study_instance_uid)
        return series["image_set_id"] not in {one["image_set_id"] for one in held}

    until(is_gone, "the purge")
    site.quiet()
    states = [outcome["state"]["S"] for outcome in _outcomes(site)]
    assert "deleted" in states


def test_a_file_that_is_no_dicom_and_a_study_without_pixels_end_in_outcomes(
    site: Any, tmp_path: Path
) -> None:
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID = "another-patient"
    report.StudyInstanceUID = generate_uid()
    report.StudyDate = ""
    report.save_as(tmp_path / "report.dcm")
    (tmp_path / "text.dcm").write_text("not DICOM at all")

    site.import_files(tuple(tmp_path.glob("*.dcm")), "odd")

    assert len(site.held(report.StudyInstanceUID)) == 1
    recorded = [outcome["document"]["S"] for outcome in _outcomes(site)]
    assert any('"files_failed":1' in document for document in recorded)
    site.assign("report-1", report.StudyInstanceUID, seconds=40)
    assert site.notice("report-1").reason == "warm"
    assert site.outcome_of_assignment("report-1").state == "none relevant"


def test_an_import_whose_events_are_lost_is_found_by_the_sweep(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = boto3.client("events")
    [rule] = [
        rule["Name"] for rule in events.list_rules()["Rules"] if "HealthImaging" in rule["Name"]
    ]
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID, report.StudyInstanceUID = "lost-patient", generate_uid()
    report.StudyDate = ""
    report.save_as(tmp_path / "report.dcm")
    events.disable_rule(Name=rule)
    site.import_files((tmp_path / "report.dcm",), "lost")
    events.enable_rule(Name=rule)
    assert site.held(report.StudyInstanceUID) == []

    swept = _sweep(monkeypatch, minutes_later=6)
    site.quiet()

    assert swept["started"] == 1
    assert len(site.held(report.StudyInstanceUID)) == 1
    assert _sweep(monkeypatch, minutes_later=7)["started"] == 0


def test_a_study_that_was_stored_without_an_import_job_is_found_by_the_sweep(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = boto3.client("events")
    [rule] = [
        rule["Name"] for rule in events.list_rules()["Rules"] if "HealthImaging" in rule["Name"]
    ]
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    report.PatientID, report.StudyInstanceUID = "stored-patient", generate_uid()
    report.StudyDate = ""
    content = BytesIO()
    report.save_as(content)
    events.disable_rule(Name=rule)
    _store(site, content.getvalue())
    events.enable_rule(Name=rule)
    assert site.held(report.StudyInstanceUID) == []
    before = len(_outcomes(site))

    swept = _sweep(monkeypatch, minutes_later=6)
    site.quiet()

    assert (swept["started"], swept["image_sets_started"]) == (0, 1)
    assert len(site.held(report.StudyInstanceUID)) == 1
    assert len(_outcomes(site)) == before + 2, "one of the import, and one of its prefetch"
    again = _sweep(monkeypatch, minutes_later=7)
    assert (again["started"], again["image_sets_started"]) == (0, 0)
    assert len(_outcomes(site)) == before + 2


def _store(site: Any, p10: bytes) -> None:
    """Store an instance by STOW-RS."""
    session = boto3.Session()
    sign = Signer(
        session.get_credentials, service="medical-imaging", region=str(session.region_name)
    )
    url = f"{site.stack.data_store.dicomweb_url}/studies"
    headers = sign(url, {"Content-Type": "application/dicom"}, method="POST", body=p10)
    answer = urllib3.request("POST", url, body=p10, headers=headers)
    assert answer.status == 200, answer.data


def _sweep(monkeypatch: pytest.MonkeyPatch, *, minutes_later: int) -> dict[str, Any]:
    client = boto3.client("lambda")
    [name] = [
        function["FunctionName"]
        for function in client.list_functions()["Functions"]
        if "SweepImports" in function["FunctionName"]
    ]
    later = datetime.now(UTC) + timedelta(minutes=minutes_later)
    with monkeypatch.context() as clock:
        clock.setattr(runtime, "now", lambda: later)
        answer = client.invoke(FunctionName=name)
    return dict(json.loads(answer["Payload"].read()))


def _outcomes(site: Any) -> list[dict[str, Any]]:
    items = boto3.client("dynamodb").scan(TableName=runtime.settings().table_name)["Items"]
    return [item for item in items if item["sk"]["S"] == "OUTCOME"]
