"""An import job, and what it writes to S3 (developer guide, "Understanding import jobs")."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from teleprefetch.local.healthimaging.archive import Change
from teleprefetch.local.healthimaging.ingest import Instance

JobStatus = Literal["SUBMITTED", "IN_PROGRESS", "COMPLETED", "FAILED"]


@dataclass(frozen=True, slots=True)
class Job:
    """One import job as it is now."""

    job_id: str
    job_name: str
    datastore_id: str
    status: JobStatus
    data_access_role_arn: str
    input_s3_uri: str
    output_s3_uri: str
    submitted_at: datetime
    ended_at: datetime | None = None
    message: str | None = None

    @property
    def folder_uri(self) -> str:
        """The folder below the output prefix that holds everything this job writes."""
        folder = f"{self.datastore_id}-DicomImport-{self.job_id}"
        return f"{self.output_s3_uri.rstrip('/')}/{folder}/"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: an instance, or why not."""

    input_file: str
    instance: Instance | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """The objects of a job's folder: the three listings, and the manifest that comes last."""

    listings: dict[str, bytes]
    manifest: bytes


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two halves of an s3:// address."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.removeprefix("/")


def output_of(job: Job, outcomes: Iterable[Outcome], changes: Iterable[Change]) -> Output:
    """What a finished job writes."""
    outcomes, changes = list(outcomes), list(changes)
    placed = {uid: change for change in changes for uid in change.sop_instance_uids}
    imported = [outcome for outcome in outcomes if outcome.instance is not None]
    refused = [outcome for outcome in outcomes if outcome.instance is None]
    warned = [outcome for outcome in imported if outcome.instance and outcome.instance.warnings]
    return Output(
        listings={
            "SUCCESS/success.ndjson": _lines(_success(outcome, placed) for outcome in imported),
            "FAILURE/failure.ndjson": _lines(_failure(outcome) for outcome in refused),
            "WARNING/warning.ndjson": _lines(_warning(outcome, placed) for outcome in warned),
        },
        manifest=json.dumps(_manifest(job, len(imported), len(refused), changes)).encode(),
    )


def _manifest(job: Job, imported: int, refused: int, changes: list[Change]) -> dict[str, Any]:
    return {
        "jobSummary": {
            "jobId": job.job_id,
            "datastoreId": job.datastore_id,
            "inputS3Uri": job.input_s3_uri,
            "outputS3Uri": job.folder_uri,
            "successOutputS3Uri": f"{job.folder_uri}SUCCESS/",
            "failureOutputS3Uri": f"{job.folder_uri}FAILURE/",
            "warningsOutputS3Uri": f"{job.folder_uri}WARNING/",
            "numberOfScannedFiles": imported + refused,
            "numberOfImportedFiles": imported,
            "numberOfFilesWithCustomerError": refused,
            "numberOfFilesWithServerError": 0,
            "numberOfGeneratedImageSets": len(changes),
            "imageSetsSummary": [
                {
                    "imageSetId": change.image_set.image_set_id,
                    "numberOfMatchedSOPInstances": len(change.sop_instance_uids),
                    "isPrimary": change.image_set.is_primary,
                    "imageSetVersion": change.image_set.latest.number,
                }
                for change in changes
            ],
        }
    }


def _success(outcome: Outcome, placed: Mapping[str, Change]) -> dict[str, Any]:
    image_set = _place(outcome, placed).image_set
    return {
        "inputFile": outcome.input_file,
        "importResponse": {
            "imageSetId": image_set.image_set_id,
            "isPrimary": image_set.is_primary,
        },
    }


def _failure(outcome: Outcome) -> dict[str, Any]:
    return {
        "inputFile": outcome.input_file,
        "exception": {"exceptionType": "ValidationException", "message": outcome.refusal},
    }


def _warning(outcome: Outcome, placed: Mapping[str, Change]) -> dict[str, Any]:
    image_set = _place(outcome, placed).image_set
    warnings = outcome.instance.warnings if outcome.instance else ()
    return {
        "inputFile": outcome.input_file,
        "importResponse": {
            "imageSetId": image_set.image_set_id,
            "imageSetVersion": image_set.latest.number,
            "isPrimary": image_set.is_primary,
            "warnings": [
                {
                    "warning_reason_code": warning.code,
                    "type": warning.kind,
                    "message": warning.message,
                }
                for warning in warnings
            ],
        },
    }


def _place(outcome: Outcome, placed: Mapping[str, Change]) -> Change:
    if outcome.instance is None:
        raise AssertionError("a refused file is in no image set")
    return placed[outcome.instance.sop_instance_uid]


def _lines(documents: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)
