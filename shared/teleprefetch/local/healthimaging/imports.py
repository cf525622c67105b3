"""Import jobs: files below an S3 prefix become instances, in the background."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError

from teleprefetch.local.healthimaging.archive import Archive
from teleprefetch.local.healthimaging.ingest import ImportRefusedError, ingest
from teleprefetch.local.healthimaging.jobs import Job, Outcome, Output, bucket_and_key, output_of
from teleprefetch.local.healthimaging.notices import Notices
from teleprefetch.local.healthimaging.segment import Segment
from teleprefetch.local.healthimaging.wire import ServiceError

ManifestTiming = Literal["before-event", "after-event", "half-written", "missing"]
MAX_FILES: Final = 5000
_PATTERNS: Final = {
    "clientToken": r"[A-Za-z0-9._-]{1,64}",
    "dataAccessRoleArn": r"arn:aws(-[^:]+)?:iam::[0-9]{12}:role/.+",
    "inputS3Uri": r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?",
    "outputS3Uri": r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?",
    "jobName": r"[A-Za-z0-9._/#-]{1,64}",
}
_OPTIONAL: Final = {"jobName", "inputOwnerAccountId"}


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How imports behave.

    `manifest` is when the manifest is there, seen from the event Import Job Completed: before it
    and whole, `manifest_delay_s` after it, before it but cut short until then, or never.
    """

    manifest: ManifestTiming = "before-event"
    manifest_delay_s: float = 0.0
    max_files: int = MAX_FILES
    workers: int = 2


class _JobError(Exception):
    """The job fails; the message is the one GetDICOMImportJob tells."""


class Imports:
    """Runs import jobs in threads of their own; the files of a job share a few workers."""

    def __init__(
        self,
        *,
        s3: Any,
        archive: Archive,
        segment: Segment,
        notices: Notices,
        studies_url: str,
        settings: ImportSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._s3 = s3
        self._archive = archive
        self._segment = segment
        self._notices = notices
        self._studies_url = studies_url
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._tokens: dict[str, tuple[dict[str, Any], str]] = {}
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="ingest")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()

    def start(self, datastore_id: str, request: dict[str, Any]) -> Job:
        """Submit a job; the same request with the same client token is the same job.

        Raises:
            ServiceError: ValidationException; ConflictException for a token used otherwise.
        """
        _check(request)
        with self._lock:
            asked, known_id = self._tokens.get(request["clientToken"], (request, ""))
            if asked != request:
                raise ServiceError("ConflictException", "clientToken was used for another request")
            if known_id:
                return self._jobs[known_id]
            job = self._submitted(datastore_id, request)
            self._tokens[request["clientToken"]] = (request, job.job_id)
            thread = threading.Thread(target=self._run, args=(job,), name=f"import-{job.job_id}")
            self._threads.append(thread)
        thread.start()
        return job

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._lock:
            if job_id not in self._jobs:
                raise ServiceError("ResourceNotFoundException", "The import job does not exist")
            return self._jobs[job_id]

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def _submitted(self, datastore_id: str, request: dict[str, Any]) -> Job:
        job_id = uuid.uuid4().hex
        job = Job(
            job_id=job_id,
            job_name=request.get("jobName", job_id),
            datastore_id=datastore_id,
            status="SUBMITTED",
            data_access_role_arn=request["dataAccessRoleArn"],
            input_s3_uri=request["inputS3Uri"],
            output_s3_uri=request["outputS3Uri"],
            submitted_at=self._clock(),
        )
        self._jobs[job_id] = job
        return job

    def _advance(self, job: Job) -> Job:
        with self._lock:
            self._jobs[job.job_id] = job
        self._notices.job_changed(job)
        return job

    def _run(self, job: Job) -> None:
        self._notices.job_changed(job)
        job = self._advance(replace(job, status="IN_PROGRESS"))
        try:
            output = self._import(job)
        except _JobError as error:
            self._fail(job, str(error))
        except (ClientError, BotoCoreError) as error:
            self._fail(job, f"S3 refused: {_name(error)}")
        except BaseException:
            self._fail(job, "Internal error")
            raise
        else:
            self._advance(replace(job, status="COMPLETED", ended_at=self._clock()))
            self._write_late_manifest(job, output)

    def _fail(self, job: Job, message: str) -> None:
        self._advance(replace(job, status="FAILED", message=message, ended_at=self._clock()))

    def _import(self, job: Job) -> Output:
        bucket, prefix = bucket_and_key(job.input_s3_uri)
        keys = list(self._keys(bucket, prefix))
        if not keys:
            raise _JobError("No files found at inputS3Uri")
        if len(keys) > self._settings.max_files:
            raise _JobError(f"More than {self._settings.max_files} files at inputS3Uri")
        outcomes = list(self._pool.map(lambda key: self._read(bucket, key), keys))
        instances = [outcome.instance for outcome in outcomes if outcome.instance is not None]
        changes = self._archive.commit(instances, self._clock())
        output = output_of(job, outcomes, changes)
        self._write_output(job, output)
        for change in changes:
            self._notices.image_set_changed(change.image_set)
        return output

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield entry["Key"]

    def _read(self, bucket: str, key: str) -> Outcome:
        if self._closing.is_set():
            raise _JobError("The service is closing")
        with self._s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
            p10 = body.read()
        try:
            instance = ingest(p10, segment=self._segment, studies_url=self._studies_url)
        except ImportRefusedError as error:
            return Outcome(key, refusal=str(error))
        return Outcome(key, instance)

    def _write_output(self, job: Job, output: Output) -> None:
        for name, content in output.listings.items():
            self._put(job, name, content)
        if self._settings.manifest == "before-event":
            self._put_manifest(job, output.manifest)
        elif self._settings.manifest == "half-written":
            self._put_manifest(job, output.manifest[: len(output.manifest) // 2])

    def _write_late_manifest(self, job: Job, output: Output) -> None:
        if self._settings.manifest not in {"after-event", "half-written"}:
            return
        if not self._closing.wait(self._settings.manifest_delay_s):
            self._put_manifest(job, output.manifest)

    def _put_manifest(self, job: Job, content: bytes) -> None:
        self._put(job, "job-output-manifest.json", content)

    def _put(self, job: Job, name: str, content: bytes) -> None:
        bucket, folder = bucket_and_key(job.folder_uri)
        self._s3.put_object(Bucket=bucket, Key=folder + name, Body=content)


def _check(request: dict[str, Any]) -> None:
    unknown = request.keys() - _PATTERNS.keys() - _OPTIONAL
    if unknown:
        raise ServiceError("ValidationException", f"Not supported here: {min(unknown)}")
    for name, pattern in _PATTERNS.items():
        value = request.get(name)
        if value is None and name in _OPTIONAL:
            continue
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise ServiceError("ValidationException", f"{name} is missing or malformed")


def _name(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__
