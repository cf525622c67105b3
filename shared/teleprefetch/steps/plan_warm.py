"""State `PlanWarm`: what to warm within the byte budget, and an order for each node."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from teleprefetch.domain.plan import plan_warming
from teleprefetch.domain.relevance import Ranking
from teleprefetch.domain.rules import SiteRules
from teleprefetch.errors import PrefetchError
from teleprefetch.model import (
    Assigned,
    Instant,
    ObjectPointer,
    Plan,
    Priority,
    Slug,
    StudyRecord,
    Value,
)
from teleprefetch.ports import Documents, LookupKeys, Nodes, Runs
from teleprefetch.prefetch import Candidates, PrefetchRequest, digest_of
from teleprefetch.run_records import Run, patient_words, warm_run_id
from teleprefetch.settings import Gate, Routing
from teleprefetch.steps.admit_assignment import reader_of
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
    due_at: Instant | None
    waiter: str
    reading: Assigned | None
    event_id: Slug | None


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
    runs: Runs,
    lookup_keys: LookupKeys | None,
    nodes: Nodes,
    routing: Routing,
    rules: SiteRules,
    gate: Gate,
    budget_bytes: int,
    give_up_after_s: int,
    reading_days: int,
    now: datetime,
) -> Planned:
    """Plan the warming of a study and its priors, and record it with an order for each node.

    A node that an operator drains gets no order as long as its location has another.

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
    plan = _requiring(plan, gate.required_priors(request.priority))
    plan = plan.model_copy(update={"event_id": request.event_id})
    pointer = documents.put(plan_key(request.prefetch_id), plan)
    node_of = _nodes(request, routing, drained=nodes.drained())
    order = NodeOrder(
        queue_url="",
        prefetch_id=request.prefetch_id,
        node=next(iter(node_of)),
        plan=pointer,
        priority=request.priority,
        give_up_at=now + timedelta(seconds=give_up_after_s),
        due_at=request.deadline_at,
        waiter=request.waiter if plan.required else "",
        reading=_reading(request, current, ends_at=now + timedelta(days=reading_days)),
        event_id=request.event_id,
    )
    orders = tuple(
        order.model_copy(update={"node": node, "queue_url": routing.nodes[node]})
        for node in node_of
    )
    for run in _records(request, current, node_of, lookup_keys=lookup_keys, now=now):
        runs.record(run)
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


def _requiring(plan: Plan, priors: int | None) -> Plan:
    """The plan with the first priors by rank, and the current study, as what a notice requires."""
    if priors is None:
        return plan
    taken = sorted((prior for prior in plan.priors if prior.taken), key=lambda prior: prior.rank)
    first = (prior.study_instance_uid for prior in taken[:priors])
    return plan.model_copy(update={"required": (plan.study_instance_uid, *first)})


def _nodes(
    request: PrefetchRequest, routing: Routing, *, drained: frozenset[str]
) -> dict[str, str]:
    """The nodes to order, each once, with the location it is ordered for."""
    chosen: dict[str, str] = {}
    for location in request.reading_locations:
        nodes = routing.nodes_of(location)
        for node in [node for node in nodes if node not in drained] or nodes:
            chosen.setdefault(node, location)
    return chosen


def _records(
    request: PrefetchRequest,
    current: StudyRecord,
    node_of: Mapping[str, str],
    *,
    lookup_keys: LookupKeys | None,
    now: datetime,
) -> Iterable[Run]:
    """The run of the prefetch, and one for each node's order; what a lookup needs, no more."""
    about: dict[str, Any] = {
        "at": now,
        "origin_id": request.origin_id,
        "study_instance_uid": request.study_instance_uid,
        "reader": reader_of(request.assigned_to),
        "priority": request.priority,
        "assignment_id": request.assignment_id,
        "event_id": request.event_id,
        **_lookups(current, lookup_keys),
    }
    yield Run(
        run_id=request.prefetch_id,
        kind="prefetch",
        outcome="warming",
        of=request.of,
        reading_location=request.reading_locations[0],
        **about,
    )
    for node, location in node_of.items():
        yield Run(
            run_id=warm_run_id(request.prefetch_id, node),
            kind="warm",
            outcome="ordered",
            of=request.prefetch_id,
            node=node,
            reading_location=location,
            **about,
        )


def _lookups(current: StudyRecord, lookup_keys: LookupKeys | None) -> dict[str, str]:
    """What a run is found by; without the key's keeper it is warmed all the same, and says so."""
    if lookup_keys is None:
        return {}
    accession = current.accession_number.strip()
    try:
        keys = {"patient_key": lookup_keys.key_of("patient", patient_words(current.patient))}
        if accession:
            keys["accession_key"] = lookup_keys.key_of("accession", accession)
    except PrefetchError as error:
        return {"cause": f"not found by patient or accession: {type(error).__name__}: {error}"}
    return keys
