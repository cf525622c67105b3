"""State `BeginWarming`: warming goes on after a notice that did not wait for it."""

from collections.abc import Mapping
from typing import Any

from teleprefetch.assignment import Assignment
from teleprefetch.ports import Executions
from teleprefetch.steps.await_warm import prefetch_of


def run(payload: Mapping[str, Any], *, executions: Executions) -> bool:
    """Start the prefetch of an assignment whose notice is out, if it was not started before.

    Returns:
        False if it runs already, or ran.

    Raises:
        InvalidPayloadError: the payload is malformed.
        OriginThrottledError: Step Functions asks to slow down.
    """
    request = prefetch_of(Assignment.parse(payload.get("assignment"), at="assignment"), waiter="")
    return executions.start(request.prefetch_id, {"request": request.model_dump(mode="json")})
