"""State `PlanWarm`: what to warm within the byte budget, and an order for each node."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from teleprefetch.domain.plan import plan_warming
from teleprefetch.domain.relevance import Ranking
from teleprefetch.domain.rules import SiteRules
from teleprefetch.model import (
    Assigned,
    Instant,
    ObjectPointer,
    Priority,
    Slug,
    StudyRecord,
    Value,
)
from teleprefetch.ports import Documents
from teleprefetch.prefetch import Candidates, PrefetchRequest, digest_of
from teleprefetch.settings import Routing
from teleprefetch.steps.find_priors import Found, request_of
from teleprefetch.steps.rank_priors import Ranked


class NodeOrder(Value):
    """What state `WarmNode` sends to one node; the state adds the task token."""

    queue_url: str
    prefetch_id: Slug
    node: Slug
    plan: ObjectPointer
    priority: Priority
    give_up_at: Instant
    reading: Assigned | None


class Planned(Value):
    """Where the plan is written, its orders, and how much it holds; counts and pointers only."""

    plan: ObjectPointer
    orders: tuple[NodeOrder, ...]
    series: int
    left_out: int
    estimated_bytes: int


def run(
    state: Mapping[str, Any],
    *,
    documents: Documents,
    routing: Routing,
    rules: SiteRules,
    budget_bytes: int,
    give_up_after_s: int,
    reading_days: int,
    now: datetime,
) -> Planned:
    """Plan the warming of a study and its priors.

    Raises:
        InvalidPayloadError: the state is malformed or names an unknown reading location.
        CorruptPayloadError: a document of the steps before is cut short.
    """
    request = request_of(state)
    found = Found.parse(state.get("candidates"), at="candidates")
    ranked = Ranked.parse(state.get("ranking"), at="ranking")
    current = documents.get(found.candidates, Candidates).current
    plan = plan_warming(
        current,
        documents.get(ranked.ranking, Ranking),
        prefetch_id=request.prefetch_id,
        origin_id=request.origin_id,
        budget_bytes=budget_bytes,
        rules=rules,
    )
    pointer = documents.put(plan_key(request.prefetch_id), plan)
    orders = _orders(
        request,
        pointer,
        routing=routing,
        give_up_at=now + timedelta(seconds=give_up_after_s),
        reading=_reading(request, current, ends_at=now + timedelta(days=reading_days)),
    )
    return Planned(
        plan=pointer,
        orders=orders,
        series=len(plan.series),
        left_out=len(plan.left_out),
        estimated_bytes=sum(series.estimated_bytes for series in plan.series),
    )


def plan_key(prefetch_id: str) -> str:
    """Where the plan of a prefetch is written; the notice looks for it there."""
    return f"prefetch/{prefetch_id}/plan.json"


def _reading(
    request: PrefetchRequest, current: StudyRecord, *, ends_at: datetime
) -> Assigned | None:
    """What an assignment opens to its readers; an import opens nothing."""
    if request.assignment_id is None:
        return None
    patient = current.patient
    return Assigned(
        assignment_id=request.assignment_id,
        reading_location=request.reading_locations[0],
        assigned_to=request.assigned_to,
        patient=digest_of(patient.issuer_of_patient_id, patient.patient_id),
        ends_at=ends_at,
    )


def _orders(
    request: PrefetchRequest,
    plan: ObjectPointer,
    *,
    routing: Routing,
    give_up_at: datetime,
    reading: Assigned | None,
) -> tuple[NodeOrder, ...]:
    nodes = dict.fromkeys(
        node for location in request.reading_locations for node in routing.nodes_of(location)
    )
    return tuple(
        NodeOrder(
            queue_url=routing.nodes[node],
            prefetch_id=request.prefetch_id,
            node=node,
            plan=plan,
            priority=request.priority,
            give_up_at=give_up_at,
            reading=reading,
        )
        for node in nodes
    )
