"""State `RecordOutcome`: the one outcome of a prefetch, and the answer to whoever waits for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from teleprefetch.domain.causes import cause_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.ports import Outcomes, Tasks
from teleprefetch.prefetch import NodeResult, Outcome, OutcomeState
from teleprefetch.steps.find_priors import Found, request_of

_NODES: TypeAdapter[tuple[NodeResult, ...]] = TypeAdapter(tuple[NodeResult, ...])


def run(state: Mapping[str, Any], *, outcomes: Outcomes, tasks: Tasks, now: datetime) -> Outcome:
    """Record how a prefetch ended and tell the assignment that waits for it.

    Args:
        state: `request`, and either `nodes` or the `error` that was caught.

    Raises:
        InvalidPayloadError: the state is malformed.
    """
    request = request_of(state)
    nodes = _nodes_of(state)
    outcome = outcomes.record(
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
    if request.waiter:
        tasks.succeed(request.waiter, prefetch_answer(outcome))
    return outcome


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
