"""Function `SweepImports`: imports whose event was lost are started as if it had come.

HealthImaging's events may be lost: the EventBridge reference calls their delivery best effort.
Import jobs are looked through, and image sets too: what came by STOW-RS has no job.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from teleprefetch.domain.import_events import import_id_of
from teleprefetch.model import Value
from teleprefetch.ports import Executions, ImportJobs, Outcomes
from teleprefetch.prefetch import ChangedImageSet, EndedImportJob

GRACE: Final = timedelta(minutes=5)  # for an event that is on its way, and its execution
# Image sets are many, and each is looked at by every sweep of this time: four.
IMAGE_SETS_WINDOW: Final = timedelta(hours=1)
_ASKED_AT_ONCE: Final = 16
# What the event of a first version, and of a later one, may have said of it; the likeliest first
# (developer guide, "Using Amazon EventBridge").
_MADE: Final = ("CREATED", "COPIED")
_CHANGED: Final = ("UPDATED", "COPIED", "CREATED")
T = TypeVar("T")


class ImageSetChanges(Protocol):
    """Which image sets of a data store were made or changed, however they came."""

    def between(self, since: datetime, until: datetime) -> tuple[ChangedImageSet, ...]:
        """Those whose latest change was between the two; the newest first, and so many at most.

        Raises the errors common to origins.
        """


class Swept(Value):
    """How many jobs ended and image sets changed, and how many of each had to be started here."""

    ended: int
    started: int
    image_sets: int
    image_sets_started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """How much ended and changed in the window, and which of it has no outcome."""

    ended: int
    jobs: tuple[EndedImportJob, ...]
    changed: int
    image_sets: tuple[ChangedImageSet, ...]


def run(
    *,
    import_jobs: Mapping[str, ImportJobs],
    changes: Mapping[str, ImageSetChanges],
    outcomes: Outcomes,
    executions: Executions,
    window_hours: int,
    now: datetime,
    grace: timedelta = GRACE,
    image_sets_window: timedelta = IMAGE_SETS_WINDOW,
) -> Swept:
    """Start the `import` machine for each job and image set that has no outcome.

    An execution is named by the import, so that what is still being worked on, or was started by
    an earlier sweep, is not started again. What ended or changed within `grace` is left to its
    event; started all the same, it would cost a search and nothing twice.
    """
    found = lost(
        import_jobs=import_jobs,
        changes=changes,
        outcomes=outcomes,
        window_hours=window_hours,
        now=now,
        grace=grace,
        image_sets_window=image_sets_window,
    )

    def start(event: dict[str, Any]) -> bool:
        return executions.start(import_id_of(event), event)

    of_jobs = [event_of(job) for job in found.jobs]
    of_image_sets = [events_of(image_set)[0] for image_set in found.image_sets]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as asking:
        return Swept(
            ended=found.ended,
            started=sum(asking.map(start, of_jobs)),
            image_sets=found.changed,
            image_sets_started=sum(asking.map(start, of_image_sets)),
        )


def lost(
    *,
    import_jobs: Mapping[str, ImportJobs],
    changes: Mapping[str, ImageSetChanges],
    outcomes: Outcomes,
    window_hours: int,
    now: datetime,
    grace: timedelta = GRACE,
    image_sets_window: timedelta = IMAGE_SETS_WINDOW,
) -> Lost:
    """What `run` would start; of an image set the latest change counts: it brings the earlier."""
    window = timedelta(hours=window_hours)
    until = now - grace
    ended = [
        job
        for jobs in import_jobs.values()
        for job in jobs.ended_since(now - window)
        if job.ended_at is None or job.ended_at <= until
    ]
    changed = [
        image_set
        for store in changes.values()
        for image_set in store.between(now - min(window, image_sets_window), until)
    ]
    return Lost(
        ended=len(ended),
        jobs=_without_outcome(ended, lambda job: (event_of(job),), outcomes),
        changed=len(changed),
        image_sets=_without_outcome(changed, events_of, outcomes),
    )


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


def events_of(image_set: ChangedImageSet) -> tuple[dict[str, Any], ...]:
    """The events one of which should have come, the likeliest first; a search does not tell."""
    return tuple(
        {
            "source": "aws.medical-imaging",
            "detail-type": f"Image Set {state.capitalize()}",
            "detail": {
                "datastoreId": image_set.datastore_id,
                "imagesetId": image_set.image_set_id,
                "imageSetVersion": str(image_set.version_id),
                "imageSetState": "ACTIVE",
                "imageSetWorkflowStatus": state,
            },
        }
        for state in (_MADE if image_set.version_id == 1 else _CHANGED)
    )


def _without_outcome(
    imports: list[T], events: Callable[[T], tuple[dict[str, Any], ...]], outcomes: Outcomes
) -> tuple[T, ...]:
    """Those of which none of the events has an outcome."""

    def is_lost(one: T) -> bool:
        return all(outcomes.outcome(import_id_of(event)) is None for event in events(one))

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as asking:
        are_lost = asking.map(is_lost, imports)
        return tuple(one for one, is_it in zip(imports, are_lost, strict=True) if is_it)
