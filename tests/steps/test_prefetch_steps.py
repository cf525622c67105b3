"""Steps of the prefetch machine: find, rank, plan, and the one outcome."""

import json
from datetime import timedelta
from typing import Any

import pytest

from teleprefetch.domain.rules import DEFAULT_RULES
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, StudyNotFoundError
from teleprefetch.model import AssignedTo, Plan
from teleprefetch.prefetch import Candidates
from teleprefetch.settings import Gate, Routing
from teleprefetch.steps import find_priors, plan_warm, rank_priors, record_failure, record_outcome
from teleprefetch.steps.release_assignment import Desk
from tests.builders import NOW, a_job_event
from tests.fake_origin import FakeOrigin
from tests.fakes import (
    MemoryAssignments,
    MemoryDocuments,
    MemoryEvents,
    MemoryLookupKeys,
    MemoryNodes,
    MemoryOutcomes,
    MemoryProgress,
    MemoryRuns,
    MemoryTasks,
)
from tests.origin_builders import PATIENT, a_study, a_uid

ROUTING = Routing(
    nodes={"node-a": "https://queue/a", "node-b": "https://queue/b"},
    locations={"home": ("node-a",), "both": ("node-a", "node-b")},
)


def a_state(**request: Any) -> dict[str, Any]:
    about = {
        "prefetch_id": "p-1",
        "origin_id": "archive",
        "study_instance_uid": a_uid(1),
        "reading_locations": ["home"],
        "cause": "import",
    }
    return {"request": about | request}


class World:
    def __init__(self) -> None:
        stranger = a_study(4, patient=PATIENT.model_copy(update={"patient_id": "another"}))
        self.origin = FakeOrigin([a_study(1), a_study(2), a_study(3), stranger])
        self.documents = MemoryDocuments()
        self.runs = MemoryRuns()
        self.lookup_keys = MemoryLookupKeys()
        self.nodes = MemoryNodes()
        self.gate = Gate(default_deadline_s=300)

    def through(self, step: str, state: dict[str, Any]) -> dict[str, Any]:
        """The state after the steps up to the named one."""
        found = find_priors.run(state, origins={"archive": self.origin}, documents=self.documents)
        state = state | {"candidates": found.model_dump(mode="json")}
        if step == "FindPriors":
            return state
        ranked = rank_priors.run(state, documents=self.documents, rules=DEFAULT_RULES, now=NOW)
        state = state | {"ranking": ranked.model_dump(mode="json")}
        if step == "RankPriors":
            return state
        return state | {"plan": self.plan(state).model_dump(mode="json")}

    def plan(self, state: dict[str, Any]) -> plan_warm.Planned:
        return plan_warm.run(
            state,
            documents=self.documents,
            runs=self.runs,
            lookup_keys=self.lookup_keys,
            nodes=self.nodes,
            routing=ROUTING,
            rules=DEFAULT_RULES,
            gate=self.gate,
            budget_bytes=10**9,
            give_up_after_s=3600,
            reading_days=7,
            now=NOW,
        )


def test_the_candidates_are_the_patients_other_studies_and_nobody_elses() -> None:
    world = World()
    state = world.through("FindPriors", a_state())

    found = find_priors.Found.parse(state["candidates"])
    candidates = world.documents.get(found.candidates, Candidates)
    assert {study.study_instance_uid for study in candidates.others} == {a_uid(2), a_uid(3)}


def test_the_state_holds_pointers_and_counts_and_nothing_of_the_patient() -> None:
    state = World().through("PlanWarm", a_state())

    for personal in ("Doe", "19610203", PATIENT.patient_id, "CT head", a_uid(2)):
        assert personal not in str(state)


def test_an_unknown_origin_is_refused_and_a_missing_study_not_found() -> None:
    world = World()
    with pytest.raises(InvalidPayloadError, match=r"^request\.origin_id: "):
        world.through("FindPriors", a_state(origin_id="elsewhere"))
    with pytest.raises(StudyNotFoundError):
        world.through("FindPriors", a_state(study_instance_uid=a_uid(99)))
    with pytest.raises(InvalidPayloadError, match=r"^request\.study_instance_uid: "):
        world.through("FindPriors", a_state(study_instance_uid="1.2.3\n"))


def test_the_plan_holds_the_current_study_first_and_orders_go_to_the_nodes_of_the_location() -> (
    None
):
    world = World()
    state = world.through("PlanWarm", a_state(reading_locations=["both", "home"]))

    planned = plan_warm.Planned.parse(state["plan"])
    plan = world.documents.get(planned.plan, Plan)
    assert plan.series[0].role == "current"
    assert len(plan.priors) == 2
    assert [order.node for order in planned.orders] == ["node-a", "node-b"]


def test_the_orders_of_an_assignment_say_who_may_read_and_until_when() -> None:
    reader = {"issuer": "https://issuer", "subject": "reader-1", "groups": ["chest"]}
    state = a_state(assignment_id="a-1", assigned_to=reader)

    planned = plan_warm.Planned.parse(World().through("PlanWarm", state)["plan"])

    [order] = planned.orders
    assert order.reading is not None
    assert order.reading.assigned_to == AssignedTo.parse(reader)
    assert order.reading.ends_at == NOW + timedelta(days=7)
    assert PATIENT.patient_id not in order.reading.patient


def test_the_orders_of_an_import_open_nothing_to_anybody() -> None:
    planned = plan_warm.Planned.parse(World().through("PlanWarm", a_state())["plan"])

    assert [order.reading for order in planned.orders] == [None]


def test_an_unknown_reading_location_is_refused_by_name() -> None:
    with pytest.raises(InvalidPayloadError, match=r"^reading_location: "):
        World().through("PlanWarm", a_state(reading_locations=["nowhere"]))


def test_candidates_that_are_cut_short_are_corrupt() -> None:
    world = World()
    state = world.through("FindPriors", a_state())
    key = ("documents", "prefetch/p-1/candidates.json")
    world.documents.objects[key] = world.documents.objects[key][:-20]

    with pytest.raises(CorruptPayloadError):
        rank_priors.run(state, documents=world.documents, rules=DEFAULT_RULES, now=NOW)


def a_desk(outcomes: MemoryOutcomes | None = None) -> Desk:
    return Desk(
        assignments=MemoryAssignments(),
        progress=MemoryProgress(),
        documents=MemoryDocuments(),
        documents_bucket="documents",
        events=MemoryEvents(),
        outcomes=outcomes or MemoryOutcomes(),
        runs=MemoryRuns(),
    )


def a_node(state: str = "warm", verified: int = 5, **changed: Any) -> dict[str, Any]:
    return {
        "node": "node-a",
        "state": state,
        "prefetch_id": "p-1",
        "frames_planned": 5,
        "frames_verified": verified,
    } | changed


LOST = {
    "node": "node-b",
    "state": "lost",
    "error": {"Error": "States.Timeout", "Cause": ""},
}


@pytest.mark.parametrize(
    ("nodes", "others", "state"),
    [
        ([a_node()], 2, "warm"),
        ([a_node()], 0, "none relevant"),
        ([a_node(), LOST], 2, "warm"),
        ([a_node("partial", 3)], 2, "partial"),
        ([a_node("partial", 0)], 2, "cold"),
        ([LOST], 2, "cold"),
        ([], 2, "cold"),
    ],
)
def test_how_the_nodes_answers_become_an_outcome(
    nodes: list[dict[str, Any]], others: int, state: str
) -> None:
    outcomes, tasks = MemoryOutcomes(), MemoryTasks("token")
    pointer = {"bucket": "documents", "key": "k"}
    given = a_state(waiter="token") | {
        "candidates": {"candidates": pointer, "others": others},
        "nodes": nodes,
    }

    outcome = record_outcome.run(given, desk=a_desk(outcomes), tasks=tasks, now=NOW)

    assert outcome.state == state
    assert outcomes.outcome("p-1") == outcome
    assert tasks.answers["token"]["state"] == state


def test_a_lost_node_is_named_with_its_error() -> None:
    given = a_state() | {
        "candidates": {"candidates": {"bucket": "b", "key": "k"}, "others": 1},
        "nodes": [a_node(), LOST],
    }

    outcome = record_outcome.run(given, desk=a_desk(), tasks=MemoryTasks(), now=NOW)

    assert outcome.cause == "node-b lost: States.Timeout"
    assert outcome.counts["nodes_lost"] == 1


def test_a_study_that_is_not_there_is_cold_with_its_cause() -> None:
    given = a_state(waiter="gone") | {"error": {"Error": "StudyNotFoundError", "Cause": ""}}

    outcome = record_outcome.run(given, desk=a_desk(), tasks=MemoryTasks(), now=NOW)

    assert (outcome.state, outcome.cause) == ("cold", "StudyNotFoundError")


def a_status_event(state: Any, **detail: Any) -> dict[str, Any]:
    about = {"status": "FAILED", "input": json.dumps(state), "error": None, "cause": None}
    return {"source": "aws.states", "detail": about | detail}


def test_a_failed_prefetch_is_recorded_and_frees_the_assignment_that_waits() -> None:
    outcomes, tasks = MemoryOutcomes(), MemoryTasks("token")
    event = a_status_event(
        a_state(waiter="token"), error="AccessDeniedError", cause="SearchImageSets: denied"
    )

    outcome = record_failure.run(event, outcomes=outcomes, runs=MemoryRuns(), tasks=tasks, now=NOW)

    assert (outcome.state, outcome.subject) == ("failed", "p-1")
    assert tasks.answers["token"] == {
        "prefetch_id": "p-1",
        "state": "failed",
        "cause": "AccessDeniedError: SearchImageSets: denied",
    }


def test_a_failed_import_is_recorded_under_the_event_it_was_started_with() -> None:
    outcomes = MemoryOutcomes()
    event = a_status_event(a_job_event(), status="TIMED_OUT")

    outcome = record_failure.run(
        event, outcomes=outcomes, runs=MemoryRuns(), tasks=MemoryTasks(), now=NOW
    )

    assert (outcome.state, outcome.cause) == ("failed", "TIMED_OUT")
    assert outcome.subject.startswith("imp-")


@pytest.mark.parametrize(
    "event", [{}, {"detail": []}, {"detail": {"input": "{"}}, {"detail": {"input": "[]"}}]
)
def test_a_status_without_the_executions_input_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^detail"):
        record_failure.run(
            event, outcomes=MemoryOutcomes(), runs=MemoryRuns(), tasks=MemoryTasks(), now=NOW
        )


def test_the_event_is_in_the_plan_in_each_order_and_in_each_record() -> None:
    world = World()
    state = a_state(event_id="6a7e8feb-b491", reading_locations=["both"])

    planned = world.plan(world.through("RankPriors", state))

    assert world.documents.get(planned.plan, Plan).event_id == "6a7e8feb-b491"
    assert [order.event_id for order in planned.orders] == ["6a7e8feb-b491"] * 2
    assert {run.event_id for run in world.runs.known.values()} == {"6a7e8feb-b491"}
    assert len(world.runs.known) == 3
