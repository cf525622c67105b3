"""The sweep: what no event told of is started once, by the name its event would have had."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from teleprefetch.domain.import_events import import_id_of
from teleprefetch.prefetch import ChangedImageSet, EndedImportJob, Outcome
from teleprefetch.steps import sweep_imports
from tests.builders import DATASTORE_ID, NOW, a_job_event
from tests.fakes import MemoryExecutions, MemoryOutcomes


class FakeImportJobs:
    def __init__(self, *jobs: EndedImportJob) -> None:
        self.jobs = jobs

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        return tuple(job for job in self.jobs if job.ended_at is None or job.ended_at >= since)


class FakeChanges:
    def __init__(self, *image_sets: ChangedImageSet) -> None:
        self.image_sets = image_sets

    def between(self, since: datetime, until: datetime) -> tuple[ChangedImageSet, ...]:
        return tuple(one for one in self.image_sets if since <= one.changed_at <= until)


IMAGE_SET_ID = "5" * 32


def an_image_set(version_id: int = 1, *, minutes_ago: int = 30) -> ChangedImageSet:
    return ChangedImageSet(
        datastore_id=DATASTORE_ID,
        image_set_id=IMAGE_SET_ID,
        version_id=version_id,
        changed_at=NOW - timedelta(minutes=minutes_ago),
    )


def an_image_set_event(state: str, version_id: int) -> dict[str, Any]:
    return {
        "id": "any",
        "source": "aws.medical-imaging",
        "detail-type": f"Image Set {state.capitalize()}",
        "detail": {
            "imagingVersion": "1.0",
            "isPrimary": True,
            "imageSetVersion": str(version_id),
            "datastoreId": DATASTORE_ID,
            "imagesetId": IMAGE_SET_ID,
            "imageSetState": "ACTIVE",
            "imageSetWorkflowStatus": state,
        },
    }


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
    changed: tuple[ChangedImageSet, ...] = (),
    outcomes: MemoryOutcomes | None = None,
    executions: MemoryExecutions | None = None,
) -> sweep_imports.Swept:
    return sweep_imports.run(
        import_jobs={DATASTORE_ID: FakeImportJobs(*jobs)},
        changes={DATASTORE_ID: FakeChanges(*changed)},
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


@pytest.mark.parametrize(("version_id", "state"), [(1, "CREATED"), (2, "UPDATED")])
def test_an_image_set_without_outcome_is_started_by_the_name_of_its_lost_event(
    version_id: int, state: str
) -> None:
    executions = MemoryExecutions()

    swept = sweep(changed=(an_image_set(version_id),), executions=executions)

    assert (swept.image_sets, swept.image_sets_started, swept.started) == (1, 1, 0)
    ((name, event),) = executions.started.items()
    assert name == import_id_of(an_image_set_event(state, version_id))
    assert import_id_of(event) == name
    executions.started[name] = {"ended": True}
    again = sweep(changed=(an_image_set(version_id),), executions=executions)
    assert again.image_sets_started == 0


@pytest.mark.parametrize(
    ("version_id", "state"), [(1, "CREATED"), (1, "COPIED"), (4, "UPDATED"), (4, "COPIED")]
)
def test_an_image_set_whose_version_has_an_outcome_is_left_alone(
    version_id: int, state: str
) -> None:
    outcomes = MemoryOutcomes()
    subject = import_id_of(an_image_set_event(state, version_id))
    outcomes.record(Outcome(subject=subject, state="prefetching", recorded_at=NOW))

    swept = sweep(changed=(an_image_set(version_id),), outcomes=outcomes)

    assert (swept.image_sets, swept.image_sets_started) == (1, 0)


def test_an_outcome_of_an_older_version_does_not_stand_for_a_newer_one() -> None:
    outcomes = MemoryOutcomes()
    subject = import_id_of(an_image_set_event("CREATED", 1))
    outcomes.record(Outcome(subject=subject, state="prefetching", recorded_at=NOW))

    assert sweep(changed=(an_image_set(2),), outcomes=outcomes).image_sets_started == 1


@pytest.mark.parametrize("minutes_ago", [1, 61])
def test_an_image_set_is_looked_at_for_an_hour_and_not_before_its_event_may_have_come(
    minutes_ago: int,
) -> None:
    assert sweep(changed=(an_image_set(minutes_ago=minutes_ago),)).image_sets == 0
