"""State `AwaitWarm`: start the assigned study's prefetch, and hand it the task token to answer."""

from collections.abc import Mapping
from typing import Any

from teleprefetch.assignment import Assignment
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.ports import Executions
from teleprefetch.prefetch import PrefetchRequest


def run(payload: Mapping[str, Any], *, executions: Executions) -> bool:
    """Start the prefetch of an assignment, for the reader's location and with its priority.

    Returns:
        False if it runs already: the machine then waits for an answer that goes to the first
        token, and releases at the deadline at the latest.

    Raises:
        InvalidPayloadError: the payload is malformed.
        OriginThrottledError: Step Functions asks to slow down.
    """
    assignment = Assignment.parse(payload.get("assignment"), at="assignment")
    task_token = payload.get("task_token")
    if not isinstance(task_token, str) or not task_token:
        raise InvalidPayloadError("task_token: missing")
    request = prefetch_of(assignment, waiter=task_token)
    return executions.start(request.prefetch_id, {"request": request.model_dump(mode="json")})


def prefetch_of(assignment: Assignment, *, waiter: str) -> PrefetchRequest:
    """The prefetch that an assignment asks for; `waiter` is a task token, or empty."""
    return PrefetchRequest(
        prefetch_id=assignment.prefetch_id,
        origin_id=assignment.origin_id,
        study_instance_uid=assignment.study_instance_uid,
        reading_locations=(assignment.reading_location,),
        cause="assignment",
        priority=assignment.priority,
        waiter=waiter,
        assignment_id=assignment.assignment_id,
        assigned_to=assignment.assigned_to,
        deadline_at=assignment.deadline_at,
        event_id=assignment.event_id,
    )
