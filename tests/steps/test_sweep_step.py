"""The sweep: what no event told of is started once, by the name its event would have had."""

from datetime import datetime, timedelta
from typing import Any

from teleprefetch.domain.import_events import import_id_of
from teleprefetch.prefetch import EndedImportJob, Outcome
from teleprefetch.steps import sweep_imports
from tests.builders import DATASTORE_ID, NOW, a_job_event
from tests.fakes import MemoryExecutions, MemoryOutcomes


class FakeImportJobs:
    def __init__(self, *jobs: EndedImportJob) -> None:
        self.jobs = jobs

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        return tuple(job for job in self.jobs if job.ended_at is None or job.ended_at >= since)


def a_job(**changed: Any) -> EndedImportJob:
    detail = a_job_event()["detail"]
    about = {
        "datastore_id": detail["datastoreId"],
        "job_id": detail["jobId"],
        "job_status": detail["jobStatus"],
        "output_s3_uri": detail["outputS3Uri"],
        "ended_at": NOW - timedelta(minutes=30),
    }
    return EndedImportJob.parse(about | changed)


def sweep(
    *jobs: EndedImportJob,
    outcomes: MemoryOutcomes | None = None,
    executions: MemoryExecutions | None = None,
) -> sweep_imports.Swept:
    return sweep_imports.run(
        import_jobs={DATASTORE_ID: FakeImportJobs(*jobs)},
        outcomes=outcomes or MemoryOutcomes(),
        executions=executions or MemoryExecutions(),
        window_hours=24,
        now=NOW,
    )


def test_a_job_without_outcome_is_started_by_the_name_of_its_lost_event() -> None:
    executions = MemoryExecutions()

    assert sweep(a_job(), executions=executions).started == 1
    assert list(executions.started) == [import_id_of(a_job_event())]


def test_a_job_with_an_outcome_is_left_alone() -> None:
    outcomes = MemoryOutcomes()
    subject = import_id_of(a_job_event())
    outcomes.record(Outcome(subject=subject, state="historical", recorded_at=NOW))

    swept = sweep(a_job(), outcomes=outcomes)

    assert (swept.ended, swept.started) == (1, 0)


def test_a_job_whose_event_may_still_come_is_left_alone() -> None:
    assert sweep(a_job(ended_at=NOW - timedelta(minutes=1))).started == 0


def test_a_job_that_ended_before_the_window_is_left_alone() -> None:
    assert sweep(a_job(ended_at=NOW - timedelta(hours=25))).started == 0


def test_a_second_sweep_starts_nothing_twice() -> None:
    executions = MemoryExecutions()
    sweep(a_job(), executions=executions)
    executions.started[import_id_of(a_job_event())] = {"ended": True}

    assert sweep(a_job(), executions=executions).started == 0
