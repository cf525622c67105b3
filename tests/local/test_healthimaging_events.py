import json
from typing import Any

import pytest

from teleprefetch.local.healthimaging import Settings
from tests.local.healthimaging_fixtures import DATASTORE, Bench, Slice, bench

ARN = f"arn:aws:medical-imaging:us-east-1:123456789012:datastore/{DATASTORE}"


def _by_type(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["detail-type"]: event for event in events}


def _import(running: Bench) -> str:
    running.put({"a.dcm": Slice().p10()})
    job_id = running.start(jobName="night")
    running.finished(job_id)
    return job_id


def test_an_import_is_told_from_its_submission_to_its_end() -> None:
    with bench() as running:
        job_id = _import(running)
        events = running.events(4)
        assert [event["detail-type"] for event in events] == [
            "Import Job Submitted",
            "Import Job In Progress",
            "Image Set Created",
            "Import Job Completed",
        ]
        completed = events[-1]
        assert completed["source"] == "aws.medical-imaging"
        assert completed["resources"] == [ARN]
        assert completed["detail"] == {
            "imagingVersion": "1.0",
            "datastoreId": DATASTORE,
            "jobId": job_id,
            "jobName": "night",
            "jobStatus": "COMPLETED",
            "inputS3Uri": "s3://input/in/",
            "outputS3Uri": "s3://output/out/",
        }


@pytest.mark.parametrize(
    ("key", "spelt"),
    [
        ("imagesetId", ["imagesetId"]),
        ("imageSetId", ["imageSetId"]),
        ("both", ["imageSetId", "imagesetId"]),
    ],
)
def test_an_image_set_event_spells_the_id_as_it_is_set_to(key: str, spelt: list[str]) -> None:
    with bench(imageset_key=key) as running:
        _import(running)
        created = _by_type(running.events(4))["Image Set Created"]
        (image_set,) = running.image_sets()
        image_set_id = image_set["imageSetId"]
        assert created["resources"] == [f"{ARN}/imageset/{image_set_id}"]
        detail = created["detail"]
        ids = {name: detail.pop(name) for name in list(detail) if name.lower() == "imagesetid"}
        assert ids == dict.fromkeys(spelt, image_set_id)
        assert detail == {
            "imagingVersion": "1.0",
            "isPrimary": True,
            "imageSetVersion": "1",
            "datastoreId": DATASTORE,
            "imageSetState": "ACTIVE",
            "imageSetWorkflowStatus": "CREATED",
        }


def test_the_output_of_an_import_event_can_have_the_folder_of_the_job() -> None:
    with bench(settings=Settings(event_output_uri="job-folder")) as running:
        job_id = _import(running)
        completed = _by_type(running.events(4))["Import Job Completed"]
        uri = completed["detail"]["outputS3Uri"]
        assert uri == f"s3://output/out/{DATASTORE}-DicomImport-{job_id}/"
        assert running.output({"outputS3Uri": uri}, "job-output-manifest.json")


def test_a_reimport_and_a_deletion_are_told_with_states_and_versions() -> None:
    with bench() as running:
        running.imports({"a.dcm": Slice().p10()}, prefix="one/")
        running.events(4)
        running.imports({"a.dcm": Slice().p10()}, prefix="two/")
        updated = _by_type(running.events(4))["Image Set Updated"]["detail"]
        assert (updated["imageSetVersion"], updated["imageSetWorkflowStatus"]) == ("2", "UPDATED")
        running.client.delete_image_set(datastoreId=DATASTORE, imageSetId=updated["imagesetId"])
        told = [
            (event["detail-type"], event["detail"]["imageSetState"]) for event in running.events(2)
        ]
        assert told == [("Image Set Deleting", "LOCKED"), ("Image Set Deleted", "DELETED")]


def test_a_conflicting_import_is_told_as_not_primary() -> None:
    with bench() as running:
        running.imports({"a.dcm": Slice().p10()}, prefix="one/")
        running.events(4)
        running.imports({"b.dcm": Slice(patient_id="P2").p10()}, prefix="two/")
        created = _by_type(running.events(4))["Image Set Created"]["detail"]
        assert created["isPrimary"] is False


def test_the_manifest_is_there_when_the_event_comes() -> None:
    with bench() as running:
        _import(running)
        detail = _by_type(running.events(4))["Import Job Completed"]["detail"]
        folder = f"{detail['outputS3Uri']}{DATASTORE}-DicomImport-{detail['jobId']}/"
        manifest = json.loads(running.output({"outputS3Uri": folder}, "job-output-manifest.json"))
        assert manifest["jobSummary"]["jobId"] == detail["jobId"]
