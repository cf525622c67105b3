"""Function `SweepImports`: import jobs whose event was lost are started as if it had come.

HealthImaging's events may be lost: the EventBridge reference calls their delivery best effort.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from teleprefetch.domain.import_events import import_id_of
from teleprefetch.model import Value
from teleprefetch.ports import Executions, ImportJobs, Outcomes
from teleprefetch.prefetch import EndedImportJob

GRACE: Final = timedelta(minutes=5)  # for an event that is on its way, and its execution


class Swept(Value):
    """How many jobs ended in the window, and how many of them had to be started here."""

    ended: int
    started: int


def run(
    *,
    import_jobs: Mapping[str, ImportJobs],
    outcomes: Outcomes,
    executions: Executions,
    window_hours: int,
    now: datetime,
    grace: timedelta = GRACE,
) -> Swept:
    """Start the `import` machine for each job that ended in the window and has no outcome.

    An execution is named by the import, so that a job that is still being worked on, or was
    started by an earlier sweep, is not started again. A job that ended within `grace` is left to
    its event; started all the same, it would cost a search and nothing twice.
    """
    since = now - timedelta(hours=window_hours)
    ended = [
        job
        for jobs in import_jobs.values()
        for job in jobs.ended_since(since)
        if job.ended_at is None or job.ended_at <= now - grace
    ]
    started = sum(
        executions.start(import_id_of(event), event) for event in _without_outcome(ended, outcomes)
    )
    return Swept(ended=len(ended), started=started)


def event_of(job: EndedImportJob) -> dict[str, Any]:
    """The event that should have come (developer guide, "Using Amazon EventBridge")."""
    return {
        "source": "aws.medical-imaging",
        "detail-type": f"Import Job {job.job_status.capitalize()}",
        "detail": {
            "datastoreId": job.datastore_id,
            "jobId": job.job_id,
            "jobStatus": job.job_status,
            "outputS3Uri": job.output_s3_uri,
        },
    }


def _without_outcome(
    jobs: Iterable[EndedImportJob], outcomes: Outcomes
) -> Iterable[dict[str, Any]]:
    for job in jobs:
        event = event_of(job)
        if outcomes.outcome(import_id_of(event)) is None:
            yield event
