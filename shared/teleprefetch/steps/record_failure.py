"""Function `RecordFailure`: a machine's own failure becomes an outcome, and frees who waits."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teleprefetch.domain.causes import cause_of
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.ports import Outcomes, Runs, Tasks
from teleprefetch.prefetch import Outcome, PrefetchRequest
from teleprefetch.run_records import Run
from teleprefetch.steps.record_import import import_run
from teleprefetch.steps.record_outcome import prefetch_answer, prefetch_run


def run(
    event: Mapping[str, Any], *, outcomes: Outcomes, runs: Runs, tasks: Tasks, now: datetime
) -> Outcome:
    """Record that an `import` or `prefetch` execution failed, timed out or was aborted.

    The assignment that waits for a failed prefetch is told, so that its notice need not wait
    for the deadline.

    Args:
        event: EventBridge's `Step Functions Execution Status Change`.
        outcomes: where it is recorded; one that stands and is no failure is left.
        runs: where it is found, with the execution that can be replayed.
        tasks: where the assignment waits.
        now: the time of the record.

    Raises:
        InvalidPayloadError: the event is not one, or does not hold the execution's input.
    """
    detail = event.get("detail")
    if not isinstance(detail, Mapping):
        raise InvalidPayloadError("detail: not an object")
    state = _input_of(detail)
    cause = cause_of({"Error": detail.get("error"), "Cause": detail.get("cause")})
    cause = cause if detail.get("error") else str(detail.get("status", "FAILED"))
    if "request" not in state:
        outcome = outcomes.record(
            Outcome(subject=import_id_of(state), state="failed", recorded_at=now, cause=cause)
        )
        runs.record(_of_execution(import_run(outcome, state), detail))
        return outcome
    request = PrefetchRequest.parse(state["request"], at="detail.input.request")
    outcome = outcomes.record(
        Outcome(
            subject=request.prefetch_id,
            state="failed",
            recorded_at=now,
            origin_id=request.origin_id,
            study_instance_uid=request.study_instance_uid,
            cause=cause,
        )
    )
    runs.record(_of_execution(prefetch_run(request, outcome, now=now), detail))
    if request.waiter:
        # an answer, not a failure: the machine would take the error's name for its own task's
        tasks.succeed(request.waiter, prefetch_answer(outcome))
    return outcome


def _of_execution(run: Run, detail: Mapping[str, Any]) -> Run:
    return run.model_copy(update={"execution_arn": str(detail.get("executionArn", "")) or None})


def _input_of(detail: Mapping[str, Any]) -> dict[str, Any]:
    try:
        state = json.loads(str(detail.get("input", "")))
    except ValueError:
        raise InvalidPayloadError("detail.input: not the execution's input") from None
    if not isinstance(state, dict):
        raise InvalidPayloadError("detail.input: not an object")
    return state
