"""State `RecordOutcome`: the one outcome of a prefetch, and the answer to whoever waits for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from teleprefetch.domain.causes import cause_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.ports import Runs, Tasks
from teleprefetch.prefetch import NodeResult, Outcome, OutcomeState, PrefetchRequest
from teleprefetch.run_records import Run, warm_run_id
from teleprefetch.steps.find_priors import Found, request_of
from teleprefetch.steps.release_assignment import Desk, announce_late_warm

_NODES: TypeAdapter[tuple[NodeResult, ...]] = TypeAdapter(tuple[NodeResult, ...])


def run(state: Mapping[str, Any], *, desk: Desk, tasks: Tasks, now: datetime) -> Outcome:
    """Record how a prefetch ended and tell the assignment that waits for it, or did.

    An assignment whose notice went out before, and lacked something, is told of it by `Study Warm`.

    Args:
        state: `request`, and either `nodes` or the `error` that was caught.

    Raises:
        InvalidPayloadError: the state is malformed.
    """
    request = request_of(state)
    nodes = _nodes_of(state)
    outcome = desk.outcomes.record(
        Outcome(
            subject=request.prefetch_id,
            state=_state_of(state, nodes),
            recorded_at=now,
            origin_id=request.origin_id,
            study_instance_uid=request.study_instance_uid,
            cause=_cause_of(state, nodes),
            counts=_counts_of(nodes),
        )
    )
    _record(request, outcome, nodes, runs=desk.runs, now=now)
    if request.waiter:
        tasks.succeed(request.waiter, prefetch_answer(outcome))
    if request.assignment_id is not None:
        announce_late_warm(request.assignment_id, request.prefetch_id, desk=desk, now=now)
    return outcome


def prefetch_run(request: PrefetchRequest, outcome: Outcome, *, now: datetime) -> Run:
    """The run of a prefetch as it ended, for whoever knows of it only its request."""
    return Run(
        run_id=request.prefetch_id,
        kind="prefetch",
        at=now,
        outcome=outcome.state,
        ended_at=now,
        of=request.of,
        origin_id=request.origin_id,
        study_instance_uid=request.study_instance_uid,
        reading_location=request.reading_locations[0],
        priority=request.priority,
        assignment_id=request.assignment_id,
        event_id=request.event_id,
        counts=outcome.counts,
        # nothing to add leaves what planning said, such as that a lookup key was refused
        **({"cause": outcome.cause} if outcome.cause else {}),
    )


def _record(
    request: PrefetchRequest,
    outcome: Outcome,
    nodes: Sequence[NodeResult],
    *,
    runs: Runs,
    now: datetime,
) -> None:
    runs.record(prefetch_run(request, outcome, now=now))
    for node in nodes:
        runs.record(
            Run(
                run_id=warm_run_id(request.prefetch_id, node.node),
                kind="warm",
                at=now,
                outcome=node.state,
                ended_at=now,
                cause=cause_of(node.error.model_dump(by_alias=True)) if node.error else "",
                of=request.prefetch_id,
                node=node.node,
                event_id=request.event_id,
                counts=_counts_of([node]),
            )
        )


def prefetch_answer(outcome: Outcome) -> dict[str, Any]:
    """What the assignment that waits for a prefetch is told of its end."""
    return {"prefetch_id": outcome.subject, "state": outcome.state, "cause": outcome.cause}


def _nodes_of(state: Mapping[str, Any]) -> tuple[NodeResult, ...]:
    try:
        return _NODES.validate_python(state.get("nodes", ()))
    except ValidationError:
        raise InvalidPayloadError("nodes: not the answers of nodes") from None


def _state_of(state: Mapping[str, Any], nodes: Sequence[NodeResult]) -> OutcomeState:
    answered = [node for node in nodes if node.state != "lost"]
    if "error" in state or not answered:
        return "cold"
    if any(node.state == "partial" for node in answered):
        return "partial" if any(node.frames_verified for node in answered) else "cold"
    others = Found.parse(state.get("candidates"), at="candidates").others
    return "warm" if others else "none relevant"


def _cause_of(state: Mapping[str, Any], nodes: Sequence[NodeResult]) -> str:
    lost = [
        f"{node.node} lost: {cause_of(node.error.model_dump(by_alias=True)) if node.error else ''}"
        for node in nodes
        if node.state == "lost"
    ]
    return "; ".join(part for part in (cause_of(state.get("error")), *lost) if part)


def _counts_of(nodes: Sequence[NodeResult]) -> dict[str, int]:
    fields = (
        "frames_planned",
        "frames_warmed",
        "frames_verified",
        "frames_fetched",
        "bytes_warmed",
        "bytes_fetched",
    )
    counts = {field: sum(int(getattr(node, field)) for node in nodes) for field in fields}
    return counts | {
        "nodes": len(nodes),
        "nodes_lost": sum(node.state == "lost" for node in nodes),
    }
