"""Events, plans and reports as tests need them; each argument replaces one field."""

from datetime import UTC, datetime
from typing import Any

from teleprefetch.model import Plan, PlannedPrior, StudyWarmth, WarmReport

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DATASTORE_ID = "bbc4f3cccbae4095a34170fddc19b13d"
IMAGE_SET_ID = "5b3a711878c34d40e888253319388649"
PIPELINE_ENVIRONMENT = {
    "ORIGINS": '{"archive": {"kind": "dicomweb", "url": "http://127.0.0.1:9"}}',
    "ROUTING": '{"nodes": {"n": "https://queue"}, "locations": {"home": ["n"]}}',
    "IMPORT_LOCATIONS": '["home"]',
    "TABLE_NAME": "table",
    "DOCUMENTS_BUCKET": "documents",
    "EVENT_BUS_NAME": "default",
    "BUDGET_BYTES": "1000000",
    "ASSIGNMENT_DEADLINE_S": "300",
    "GIVE_UP_AFTER_S": "3600",
    "HISTORICAL_AFTER_DAYS": "14",
    "RECORDS_KEPT_DAYS": "90",
    "SWEEP_WINDOW_HOURS": "24",
    "READING_DAYS": "7",
}


def a_job_event(detail_type: str = "Import Job Completed", **detail: Any) -> dict[str, Any]:
    """HealthImaging developer guide, "Using Amazon EventBridge with HealthImaging"."""
    return {
        "version": "0",
        "id": "7cf0fb1c-8720-4d48-baa3-6eb97b35a10e",
        "detail-type": detail_type,
        "source": "aws.medical-imaging",
        "account": "111122223333",
        "time": "2026-11-24T11:59:00Z",
        "region": "us-west-2",
        "resources": [f"arn:aws:medical-imaging:us-west-2:111122223333:datastore/{DATASTORE_ID}"],
        "detail": {
            "imagingVersion": "1.0",
            "datastoreId": DATASTORE_ID,
            "jobId": "a6a1d220f152e7aab6d8925d995d8b76",
            "jobName": "test_only_1",
            "jobStatus": "COMPLETED",
            "inputS3Uri": "s3://input/",
            "outputS3Uri": "s3://output/",
        }
        | detail,
    }


def an_image_set_event(detail_type: str = "Image Set Created", **detail: Any) -> dict[str, Any]:
    """The same page; a value of None leaves a field out."""
    given = {
        "imagingVersion": "1.0",
        "isPrimary": True,
        "imageSetVersion": "1",
        "datastoreId": DATASTORE_ID,
        "imagesetId": IMAGE_SET_ID,
        "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
    } | detail
    event = a_job_event(detail_type)
    event["resources"] = [f"{event['resources'][0]}/imageset/{IMAGE_SET_ID}"]
    event["detail"] = {key: value for key, value in given.items() if value is not None}
    return event


def an_assigned_event(**detail: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "0b0b",
        "detail-type": "Study Assigned",
        "source": "worklist",
        "time": "2026-11-24T12:00:00Z",
        "detail": {
            "schema_version": "1",
            "assignment_id": "a-1",
            "origin_id": DATASTORE_ID,
            "study_instance_uid": "1.2.3",
            "reading_location": "home",
        }
        | detail,
    }


def a_planned_prior(**changed: Any) -> PlannedPrior:
    about = {
        "study_instance_uid": "1.2.4",
        "rank": 1,
        "score": 80.0,
        "reasons": ("same region CHEST +55",),
        "taken": True,
    }
    return PlannedPrior.parse(about | changed)


def a_plan(**changed: Any) -> Plan:
    about = {
        "prefetch_id": "p-1",
        "origin_id": DATASTORE_ID,
        "study_instance_uid": "1.2.3",
        "series": (),
        "priors": (a_planned_prior(),),
        "budget_bytes": 10**9,
    }
    return Plan.parse(about | changed)


def a_warmth(study_instance_uid: str, verified: int, planned: int, **changed: Any) -> StudyWarmth:
    role = "current" if study_instance_uid == "1.2.3" else "prior"
    about = {
        "study_instance_uid": study_instance_uid,
        "role": role,
        "frames_planned": planned,
        "frames_verified": verified,
    }
    return StudyWarmth.parse(about | changed)


def a_report(*studies: StudyWarmth, **changed: Any) -> WarmReport:
    planned = sum(study.frames_planned for study in studies)
    verified = sum(study.frames_verified for study in studies)
    about = {
        "prefetch_id": "p-1",
        "node": "node-a",
        "state": "warm",
        "frames_planned": planned,
        "frames_warmed": verified,
        "frames_verified": verified,
        "frames_fetched": verified,
        "bytes_warmed": 1000 * verified,
        "bytes_fetched": 1000 * verified,
        "studies": studies,
        "reported_at": NOW,
    }
    return WarmReport.parse(about | changed)
