"""Function `SweepAssignments`: a notice that is past its deadline is released, whatever held it.

The watchdog outside the machine: it needs neither the machine's end nor an event about it, which
may be lost, nor that the assignment was ever admitted: what failed before that is among Step
Functions' own executions.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from teleprefetch.errors import PrefetchError
from teleprefetch.model import Value
from teleprefetch.ports import Histories
from teleprefetch.run_records import ExecutionStatus, Run, RunFilter, notice_run_id
from teleprefetch.settings import Gate
from teleprefetch.steps import release_assignment
from teleprefetch.steps.release_assignment import Desk

MOST: Final = 10_000  # that wait at once; the sweep looks through all of them
LOOK_BACK: Final = timedelta(hours=2)  # at failed executions: the sweep runs every minute
_FAILED: Final[tuple[ExecutionStatus, ...]] = ("FAILED", "TIMED_OUT", "ABORTED")


class Swept(Value):
    """How many notices nothing else had released, and how many of them were published here."""

    overdue: int
    published: int


class Late(NamedTuple):
    """A notice that nothing else has released, and how that is known."""

    assignment_id: str
    why: str


def run(*, desk: Desk, gate: Gate, histories: Histories, now: datetime) -> Swept:
    """Release what still waits after its deadline, and what waits behind a failed execution.

    It is the same release as the machine's: whichever comes second publishes nothing. One that
    fails keeps none of the others back; its error is raised after them.
    """
    overdue, published, failures = 0, 0, []
    for state in (*_overdue(desk, now=now), *_failed(desk, histories, now=now)):
        overdue += 1
        try:
            released = release_assignment.run(state, desk=desk, gate=gate, now=now)
        except PrefetchError as error:
            failures.append(error)
        else:
            published += released.published
    if failures:
        raise failures[0]
    return Swept(overdue=overdue, published=published)


def late(*, desk: Desk, histories: Histories, now: datetime) -> tuple[Late, ...]:
    """The notices that `run` would look at now, each once; those past their deadline first."""
    overdue = [
        (state, f"its deadline was {state['detail']['deadline_at']}")
        for state in _overdue(desk, now=now)
    ]
    failed = [
        (json.loads(event["detail"]["input"]), f"its execution {event['detail']['status']}")
        for event in _failed(desk, histories, now=now)
    ]
    found: dict[str, str] = {}
    for state, why in (*overdue, *failed):
        found.setdefault(state["detail"]["assignment_id"], why)
    return tuple(Late(assignment_id, why) for assignment_id, why in found.items())


def _overdue(desk: Desk, *, now: datetime) -> Iterator[dict[str, Any]]:
    """The state of each that waits by its record, as it would be at the deadline."""
    waiting = desk.runs.find(RunFilter(kind="notice", outcome="waiting"), limit=MOST)
    due = [(run.deadline_at, run) for run in waiting if run.deadline_at is not None]
    for deadline_at, run in sorted(due, key=lambda one: one[0]):
        if deadline_at <= now:
            yield _state_of(run, deadline_at)


def _state_of(waiting: Run, deadline_at: datetime) -> dict[str, Any]:
    detail = {
        "schema_version": "1",
        "assignment_id": waiting.assignment_id,
        "origin_id": waiting.origin_id,
        "study_instance_uid": waiting.study_instance_uid,
        "reading_location": waiting.reading_location,
        "priority": waiting.priority,
        "deadline_at": deadline_at.isoformat(),
    }
    failure = {"Error": "States.Timeout", "Cause": ""}
    return {"id": waiting.event_id, "detail": detail, "error": failure}


def _failed(desk: Desk, histories: Histories, *, now: datetime) -> Iterator[dict[str, Any]]:
    """The event about each failed execution whose notice is not recorded as out."""
    for status in _FAILED:
        for execution in histories.ended_since("assignment", status, now - LOOK_BACK):
            state = histories.input_of(execution)
            if _is_awaited(state, desk):
                detail = {"status": status, "input": json.dumps(state)}
                yield {"source": "aws.states", "detail": detail}


def _is_awaited(state: Mapping[str, Any], desk: Desk) -> bool:
    detail = state.get("detail")
    assignment_id = detail.get("assignment_id") if isinstance(detail, Mapping) else None
    if not isinstance(assignment_id, str):
        return False  # there is nothing that it could release; the machine recorded the refusal
    run = desk.runs.run(notice_run_id(assignment_id))
    return run is None or run.outcome == "waiting"
