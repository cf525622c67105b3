"""The native operations on the data store and its import jobs."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from teleprefetch.local.healthimaging.imports import Imports
from teleprefetch.local.healthimaging.jobs import Job
from teleprefetch.local.healthimaging.paging import page_of, paged_response
from teleprefetch.local.healthimaging.wire import Call, Response, ServiceError, json_response

ID_PATTERN: Final = re.compile(r"[0-9a-z]{32}")
_JOB_STATUSES: Final = {"SUBMITTED", "IN_PROGRESS", "COMPLETED", "FAILED"}


@dataclass(frozen=True, slots=True)
class DataStore:
    """The one data store there is."""

    datastore_id: str
    arn: str
    created_at: datetime

    def check(self, datastore_id: str) -> None:
        """Return if this is it.

        Raises:
            ServiceError: ValidationException for what is no id, else ResourceNotFoundException.
        """
        if datastore_id == self.datastore_id:
            return
        if ID_PATTERN.fullmatch(datastore_id) is None:
            raise ServiceError("ValidationException", "datastoreId is malformed")
        raise ServiceError("ResourceNotFoundException", "The data store does not exist")

    def summary(self) -> dict[str, Any]:
        """What GetDatastore and ListDatastores both tell."""
        return {
            "datastoreId": self.datastore_id,
            "datastoreName": "local",
            "datastoreStatus": "ACTIVE",
            "datastoreArn": self.arn,
            "createdAt": self.created_at.timestamp(),
            "updatedAt": self.created_at.timestamp(),
        }


@dataclass(frozen=True, slots=True)
class NativeJobs:
    """Answers requests that were authorised and let through."""

    datastore: DataStore
    imports: Imports

    def get_datastore(self, _: Call) -> Response:
        """GetDatastore."""
        properties = {**self.datastore.summary(), "losslessStorageFormat": "HTJ2K"}
        return json_response({"datastoreProperties": properties})

    def list_datastores(self, call: Call) -> Response:
        """ListDatastores."""
        wanted = call.request.parameter("datastoreStatus") in (None, "ACTIVE")
        return json_response({"datastoreSummaries": [self.datastore.summary()] if wanted else []})

    def start_dicom_import_job(self, call: Call) -> Response:
        """StartDICOMImportJob."""
        job = self.imports.start(self.datastore.datastore_id, call.request.json())
        return json_response(
            {
                "datastoreId": job.datastore_id,
                "jobId": job.job_id,
                "jobStatus": job.status,
                "submittedAt": job.submitted_at.timestamp(),
            }
        )

    def get_dicom_import_job(self, call: Call) -> Response:
        """GetDICOMImportJob; outputS3Uri is the folder of the job, as AWS's examples use it."""
        job = self.imports.get(call.path["job_id"])
        properties = {
            **_summary(job),
            "inputS3Uri": job.input_s3_uri,
            "outputS3Uri": job.folder_uri,
        }
        return json_response({"jobProperties": properties})

    def list_dicom_import_jobs(self, call: Call) -> Response:
        """ListDICOMImportJobs, the newest first."""
        status = call.request.parameter("jobStatus")
        if status is not None and status not in _JOB_STATUSES:
            raise ServiceError("ValidationException", "jobStatus is not one")
        jobs = [job for job in self.imports.all() if status in (None, job.status)]
        page, token = page_of(jobs, call.request, query=["jobs", status])
        return paged_response("jobSummaries", [_summary(job) for job in page], token)


def _summary(job: Job) -> dict[str, Any]:
    ended = {} if job.ended_at is None else {"endedAt": job.ended_at.timestamp()}
    return {
        "jobId": job.job_id,
        "jobName": job.job_name,
        "jobStatus": job.status,
        "datastoreId": job.datastore_id,
        "dataAccessRoleArn": job.data_access_role_arn,
        "submittedAt": job.submitted_at.timestamp(),
        **ended,
        **({} if job.message is None else {"message": job.message}),
    }
