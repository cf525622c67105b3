"""State `AdmitAssignment`: from the worklist's event to how long its notice may wait."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from teleprefetch.assignment import Assignment, StudyAssigned, prefetch_id_of_assignment
from teleprefetch.model import Instant
from teleprefetch.ports import Assignments
from teleprefetch.settings import Routing

RELEASE_MARGIN_S: Final = 3  # what the release itself may take: a cold function and its retries

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


def run(
    payload: Mapping[str, Any],
    *,
    assignments: Assignments,
    routing: Routing,
    deadline_s: int,
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
    deadline_at = deadline_of(event, assigned, deadline_s=deadline_s, now=now)
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
    )
    execution_id = str(payload.get("execution_id", ""))
    holder = assignments.admit(assignment, execution_id=execution_id)
    return assignment.model_copy(update={"is_first": holder == execution_id})


def assigned_of(event: object) -> StudyAssigned:
    """What the worklist says.

    Raises:
        InvalidPayloadError: the detail breaks the schema; the message names the field.
    """
    detail = event.get("detail") if isinstance(event, Mapping) else None
    return StudyAssigned.parse(detail, at="detail")


def deadline_of(
    event: object, assigned: StudyAssigned, *, deadline_s: int, now: datetime
) -> datetime:
    """When the notice goes out at the latest: as the event says, or by setting from its time."""
    if assigned.deadline_at is not None:
        return assigned.deadline_at
    try:
        begun = _INSTANT.validate_python(event["time"] if isinstance(event, Mapping) else None)
    except (KeyError, ValidationError):
        begun = now
    return min(begun, now) + timedelta(seconds=deadline_s)
