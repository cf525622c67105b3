"""HealthImaging's import jobs that ended lately, whether or not an event told of them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from teleprefetch.adapters.healthimaging_errors import translated
from teleprefetch.prefetch import EndedImportJob

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

_PAGE_JOBS: Final = 50  # the most that ListDICOMImportJobs gives at once
_ENDED: Final = ("COMPLETED", "FAILED")


class HealthImagingImportJobs:
    """`ports.ImportJobs` of one data store."""

    def __init__(self, client: "HealthImagingClient", datastore_id: str) -> None:
        self._client = client
        self._datastore_id = datastore_id

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        """The jobs that ended at `since` or later.

        ListDICOMImportJobs filters by status, not by time, and leaves the output's address out
        (API reference, "ListDICOMImportJobs"): all pages are looked through, and each job found
        is asked for by itself.
        """
        return tuple(
            self._job(summary["jobId"])
            for status in _ENDED
            for summary in self._summaries(status)
            if summary.get("endedAt", since) >= since
        )

    def _summaries(self, status: Any) -> list[Any]:
        pages = self._client.get_paginator("list_dicom_import_jobs").paginate(
            datastoreId=self._datastore_id,
            jobStatus=status,
            PaginationConfig={"PageSize": _PAGE_JOBS},
        )
        with translated("ListDICOMImportJobs"):
            return [summary for page in pages for summary in page["jobSummaries"]]

    def _job(self, job_id: str) -> EndedImportJob:
        with translated("GetDICOMImportJob"):
            answer = self._client.get_dicom_import_job(datastoreId=self._datastore_id, jobId=job_id)
        job = answer["jobProperties"]
        return EndedImportJob(
            datastore_id=job["datastoreId"],
            job_id=job["jobId"],
            job_status=job["jobStatus"],
            output_s3_uri=job["outputS3Uri"],
            ended_at=job.get("endedAt"),
        )
