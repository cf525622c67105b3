"""Runs both sweeps for an operator, and records who and why; or tells what they would do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from teleprefetch.domain.import_events import import_id_of
from teleprefetch.errors import PrefetchError
from teleprefetch.model import Value
from teleprefetch.operate.acts import Actor, record
from teleprefetch.operate.site import Site
from teleprefetch.steps import sweep_assignments, sweep_imports

_NO_GRACE: Final = timedelta(0)  # an operator does not wait for an event that may still come


class Reconciled(Value):
    """What the sweeps found: imports without an outcome, notices past their deadline."""

    imports_ended: int
    imports_started: int
    image_sets_changed: int
    image_sets_started: int
    notices_overdue: int
    notices_published: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One import or notice that the sweeps find, and what they would do with it.

    `subject` is the job's id, the image set's id and version, or the assignment's id.
    """

    action: Literal["start", "release", "leave"]
    kind: Literal["import job", "image set", "notice"]
    subject: str
    datastore_id: str | None = None
    why: str


def reconcile(site: Site, actor: Actor, *, window_hours: int, now: datetime) -> Reconciled:
    """Run the sweeps: imports whose event was lost, notices that are past their deadline.

    It is recorded as it ended, also where an error of ours ended it half way.
    """
    try:
        found = _swept(site, window_hours=window_hours, now=now)
    except PrefetchError as error:
        what = f"reconcile: ended half way by {type(error).__name__}"
        record(site, actor, what, now=now, outcome="failed")
        raise
    what = (
        f"reconcile: {found.imports_started} imports and {found.image_sets_started} image sets"
        f" started, {found.notices_published} notices released"
    )
    record(site, actor, what, now=now)
    return found


def would_reconcile(
    site: Site, *, window_hours: int, now: datetime
) -> tuple[Reconciled, tuple[Found, ...]]:
    """What `reconcile` would count and do now; nothing is started, released or recorded."""
    lost = sweep_imports.lost(
        import_jobs=site.import_jobs,
        changes=site.image_set_changes,
        outcomes=site.outcomes,
        window_hours=window_hours,
        now=now,
        grace=_NO_GRACE,
        image_sets_window=timedelta(hours=window_hours),
    )
    late = sweep_assignments.late(desk=site.desk, histories=site.histories, now=now)
    jobs, image_sets = tuple(_of_jobs(site, lost)), tuple(_of_image_sets(site, lost))
    counts = Reconciled(
        imports_ended=lost.ended,
        imports_started=sum(one.action == "start" for one in jobs),
        image_sets_changed=lost.changed,
        image_sets_started=sum(one.action == "start" for one in image_sets),
        notices_overdue=len(late),
        notices_published=len(late),
    )
    notices = tuple(
        Found(action="release", kind="notice", subject=one.assignment_id, why=one.why)
        for one in late
    )
    return counts, (*jobs, *image_sets, *notices)


def _swept(site: Site, *, window_hours: int, now: datetime) -> Reconciled:
    notices = sweep_assignments.run(
        desk=site.desk, gate=site.settings.gate, histories=site.histories, now=now
    )
    imports = sweep_imports.run(
        import_jobs=site.import_jobs,
        changes=site.image_set_changes,
        outcomes=site.outcomes,
        executions=_ImportMachine(site),
        window_hours=window_hours,
        now=now,
        grace=_NO_GRACE,
        image_sets_window=timedelta(hours=window_hours),
    )
    return Reconciled(
        imports_ended=imports.ended,
        imports_started=imports.started,
        image_sets_changed=imports.image_sets,
        image_sets_started=imports.image_sets_started,
        notices_overdue=notices.overdue,
        notices_published=notices.published,
    )


def _of_jobs(site: Site, lost: sweep_imports.Lost) -> Iterator[Found]:
    for job in lost.jobs:
        ended = "" if job.ended_at is None else f" at {job.ended_at.isoformat(timespec='seconds')}"
        action, why = _would(site, sweep_imports.event_of(job), f"it ended {job.job_status}{ended}")
        yield Found(
            action=action,
            kind="import job",
            subject=job.job_id,
            datastore_id=job.datastore_id,
            why=why,
        )


def _of_image_sets(site: Site, lost: sweep_imports.Lost) -> Iterator[Found]:
    for image_set in lost.image_sets:
        event = sweep_imports.events_of(image_set)[0]
        changed = f"it changed at {image_set.changed_at.isoformat(timespec='seconds')}"
        action, why = _would(site, event, changed)
        yield Found(
            action=action,
            kind="image set",
            subject=f"{image_set.image_set_id} version {image_set.version_id}",
            datastore_id=image_set.datastore_id,
            why=why,
        )


def _would(site: Site, event: dict[str, Any], what: str) -> tuple[Literal["start", "leave"], str]:
    """What would be done with an import that has no outcome: a name is started once alone."""
    execution = site.histories.execution("import", import_id_of(event))
    if execution is None:
        return "start", f"{what}, and has no outcome"
    running = "" if execution.status == "RUNNING" else "; teleprefetch replay starts it anew"
    return "leave", f"{what}; execution {execution.name} is {execution.status}{running}"


class _ImportMachine:
    """`ports.Executions` of the import machine."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self, name: str, state: dict[str, Any]) -> bool:
        return self._site.histories.start("import", name, state)
