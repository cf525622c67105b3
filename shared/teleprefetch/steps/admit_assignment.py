"""State `AdmitAssignment`: from the worklist's event to how long its notice may wait."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from teleprefetch.assignment import Assignment, StudyAssigned, prefetch_id_of_assignment
from teleprefetch.domain.correlation import event_id_of
from teleprefetch.model import AssignedTo, Instant
from teleprefetch.ports import Assignments, Runs
from teleprefetch.run_records import Run, notice_run_id
from teleprefetch.settings import Gate, Routing

RELEASE_MARGIN_S: Final = 3  # what the release itself may take: a cold function and its retries

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


def run(
    payload: Mapping[str, Any],
    *,
    assignments: Assignments,
    runs: Runs,
    routing: Routing,
    gate: Gate,
    now: datetime,
) -> Assignment:
    """Admit an assignment, once; admitting it again gives what is left of its wait.

    Args:
        payload: the `event`, and the `execution_id` that handles it.

    Raises:
        InvalidPayloadError: the event is malformed or names an unknown reading location.
    """
    event = payload.get("event")
    assigned = assigned_of(event)
    routing.nodes_of(assigned.reading_location)
    deadline_at = deadline_of(event, assigned, gate=gate, now=now)
    assignment = Assignment(
        assignment_id=assigned.assignment_id,
        prefetch_id=prefetch_id_of_assignment(assigned.assignment_id),
        origin_id=assigned.origin_id,
        study_instance_uid=assigned.study_instance_uid,
        reading_location=assigned.reading_location,
        priority=assigned.priority,
        deadline_at=deadline_at,
        assigned_to=assigned.assigned_to,
        wait_s=max(0, int((deadline_at - now).total_seconds()) - RELEASE_MARGIN_S),
        is_first=True,
        event_id=event_id_of(event) or assigned.assignment_id,
    )
    execution_id = str(payload.get("execution_id", ""))
    holder = assignments.admit(assignment, execution_id=execution_id)
    is_first = holder == execution_id
    if is_first:
        runs.record(_waiting(assignment, execution_id, now=now))
    return assignment.model_copy(update={"is_first": is_first})


def reader_of(assigned_to: AssignedTo | None) -> str | None:
    """The reader that an assignment is found by: a person, else the first of the groups."""
    if assigned_to is None:
        return None
    return assigned_to.subject or next(iter(assigned_to.groups), None)


def _waiting(assignment: Assignment, execution_id: str, *, now: datetime) -> Run:
    return Run(
        run_id=notice_run_id(assignment.assignment_id),
        kind="notice",
        at=now,
        outcome="waiting",
        of=assignment.prefetch_id,
        origin_id=assignment.origin_id,
        study_instance_uid=assignment.study_instance_uid,
        reader=reader_of(assignment.assigned_to),
        reading_location=assignment.reading_location,
        priority=assignment.priority,
        assignment_id=assignment.assignment_id,
        deadline_at=assignment.deadline_at,
        execution_arn=execution_id,
        event_id=assignment.event_id,
    )


def assigned_of(event: object) -> StudyAssigned:
    """What the worklist says.

    Raises:
        InvalidPayloadError: the detail breaks the schema; the message names the field.
    """
    detail = event.get("detail") if isinstance(event, Mapping) else None
    return StudyAssigned.parse(detail, at="detail")


def deadline_of(event: object, assigned: StudyAssigned, *, gate: Gate, now: datetime) -> datetime:
    """When the notice goes out at the latest, counted from the event's time."""
    try:
        begun = _INSTANT.validate_python(event["time"] if isinstance(event, Mapping) else None)
    except (KeyError, ValidationError):
        begun = now
    return gate.deadline_at(assigned.priority, begun_at=min(begun, now), given=assigned.deadline_at)
