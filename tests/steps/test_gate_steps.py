"""The gate: rules by priority, what is required, links, `Study Warm`, the watchdog, records."""

from datetime import timedelta
from typing import Any

import pytest

from teleprefetch.assignment import Notice, prefetch_id_of_assignment
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.model import Plan
from teleprefetch.prefetch import Outcome
from teleprefetch.run_records import RunFilter, notice_run_id, warm_run_id
from teleprefetch.settings import Gate, GateRule, Routing
from teleprefetch.steps import (
    admit_assignment,
    begin_warming,
    plan_warm,
    record_outcome,
    release_assignment,
    sweep_assignments,
)
from teleprefetch.steps.plan_warm import plan_key
from tests.builders import NOW, a_plan, a_planned_prior, a_report, a_warmth, an_assigned_event
from tests.fakes import MemoryExecutions, MemoryHistories, MemoryTasks
from tests.steps.test_assignment_steps import PROVEN, TIMED_OUT, Desk, admit
from tests.steps.test_prefetch_steps import World, a_node, a_state

PREFETCH_ID = prefetch_id_of_assignment("a-1")
HISTORIES = MemoryHistories()
GATE = Gate(default_deadline_s=300, rules={"stat": GateRule(deadline_s=0)})


@pytest.mark.parametrize(
    ("priority", "given_s", "rules", "waits_s"),
    [
        ("stat", None, {"stat": {"deadline_s": 0}}, 0),
        ("stat", 600, {"stat": {"deadline_s": 0}}, 0),
        ("high", None, {"stat": {"deadline_s": 0}}, 297),
        ("high", 60, {}, 57),
        ("high", 600, {}, 597),
        ("high", 600, {"high": {"deadline_s": 90}}, 87),
        ("high", 60, {"high": {"deadline_s": 90}}, 57),
        ("routine", None, {"routine": {"deadline_s": 1800}}, 1797),
    ],
)
def test_a_notice_waits_by_its_priority_and_never_past_the_assignments_own_deadline(
    priority: str, given_s: int | None, rules: dict[str, Any], waits_s: int
) -> None:
    detail: dict[str, Any] = {"priority": priority}
    if given_s is not None:
        detail["deadline_at"] = (NOW + timedelta(seconds=given_s)).isoformat()
    gate = Gate.parse({"default_deadline_s": 300, "rules": rules})

    assert admit(an_assigned_event(**detail), gate=gate).wait_s == waits_s


def test_warming_begins_after_a_notice_that_did_not_wait_and_nobody_awaits_it() -> None:
    executions = MemoryExecutions()
    assignment = admit(an_assigned_event(priority="stat"), gate=GATE)

    assert begin_warming.run(
        {"assignment": assignment.model_dump(mode="json")}, executions=executions
    )

    request = executions.started[PREFETCH_ID]["request"]
    assert (request["waiter"], request["assignment_id"]) == ("", "a-1")


def a_ranked_plan(*, required: tuple[str, ...] = ()) -> Plan:
    priors = (
        a_planned_prior(study_instance_uid="1.2.4", rank=1),
        a_planned_prior(study_instance_uid="1.2.5", rank=2),
    )
    return a_plan(priors=priors, prefetch_id=PREFETCH_ID, required=required)


def half_warm(desk: Desk, **plan: Any) -> None:
    """The current study and the first prior are proven, the second prior is not."""
    desk.documents.put(plan_key(PREFETCH_ID), a_ranked_plan(**plan))
    warmths = (a_warmth("1.2.3", 5, 5), a_warmth("1.2.4", 3, 3), a_warmth("1.2.5", 1, 4))
    desk.progress.report(a_report(*warmths, prefetch_id=PREFETCH_ID, state="warming"))


def test_a_notice_is_warm_when_what_the_site_requires_is_and_says_what_is_not() -> None:
    desk = Desk()
    half_warm(desk, required=("1.2.3", "1.2.4"))

    released = desk.release(an_assigned_event() | PROVEN)

    assert released.reason == "warm"
    assert released.why.startswith("9 of 12 frames proven")
    [(_, notice)] = desk.events.published
    assert [prior["warm"] for prior in notice["priors"]] == ["warm", "partial"]


def test_what_is_not_required_by_name_is_required_by_default() -> None:
    desk = Desk()
    half_warm(desk)

    assert desk.release(an_assigned_event() | PROVEN).reason == "partial"


def test_the_plan_requires_the_first_priors_by_rank_and_the_order_carries_who_waits() -> None:
    world = World()
    world.gate = Gate.parse({"default_deadline_s": 300, "rules": {"high": {"required_priors": 1}}})
    state = world.through("PlanWarm", a_state(priority="high", waiter="token", assignment_id="a-1"))

    planned = plan_warm.Planned.parse(state["plan"])
    plan = world.documents.get(planned.plan, Plan)
    best = min((prior for prior in plan.priors if prior.taken), key=lambda prior: prior.rank)
    assert plan.required == (plan.study_instance_uid, best.study_instance_uid)
    assert [order.waiter for order in planned.orders] == ["token"]


def test_a_plan_that_requires_everything_leaves_the_answer_to_the_end() -> None:
    state = World().through("PlanWarm", a_state(waiter="token", assignment_id="a-1"))

    assert [order["waiter"] for order in state["plan"]["orders"]] == [""]


def test_a_prior_that_the_archive_does_not_give_any_more_is_missing() -> None:
    desk = Desk()
    desk.documents.put(plan_key(PREFETCH_ID), a_ranked_plan())
    gone = a_warmth("1.2.4", 0, 0, problem="the archive does not hold it")
    desk.progress.report(a_report(a_warmth("1.2.3", 5, 5), gone, prefetch_id=PREFETCH_ID))

    desk.release(an_assigned_event() | TIMED_OUT)

    [(_, notice)] = desk.events.published
    assert [prior["warm"] for prior in notice["priors"]] == ["missing", "cold"]


def test_each_prior_has_the_link_that_opens_it_beside_the_current_study() -> None:
    desk = Desk()
    desk.viewer_url = "https://viewer/ohif"
    half_warm(desk)

    desk.release(an_assigned_event() | TIMED_OUT)

    [(_, notice)] = desk.events.published
    beside = "&hangingProtocolId=@ohif/hpCompare"
    assert notice["link"] == f"https://viewer/ohif?StudyInstanceUIDs=1.2.3,1.2.4{beside}"
    assert [prior["link"] for prior in notice["priors"]] == [
        f"https://viewer/ohif?StudyInstanceUIDs=1.2.3,{uid}{beside}" for uid in ("1.2.4", "1.2.5")
    ]


def test_without_a_viewer_there_is_no_link() -> None:
    desk = Desk()
    half_warm(desk)

    desk.release(an_assigned_event() | TIMED_OUT)

    [(_, notice)] = desk.events.published
    assert notice["link"] is None


def ended(desk: Desk, state: str = "warm") -> None:
    desk.outcomes.record(
        Outcome.parse({"subject": PREFETCH_ID, "state": state, "recorded_at": NOW})
    )


def announce(desk: Desk) -> bool:
    return release_assignment.announce_late_warm(
        "a-1", PREFETCH_ID, desk=desk.ports, now=NOW + timedelta(minutes=9)
    )


def test_study_warm_follows_a_notice_that_lacked_something_once() -> None:
    desk = Desk()
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(5, 5)
    ended(desk)

    assert announce(desk)
    assert not announce(desk)

    kinds = [detail_type for detail_type, _ in desk.events.published]
    assert kinds == ["Assignment Released", "Study Warm"]
    assert desk.events.published[1][1]["warm_at"] == "2026-11-24T12:09:00Z"
    run = desk.runs.run(notice_run_id("a-1"))
    assert run is not None
    assert run.warm_at == NOW + timedelta(minutes=9)


def test_study_warm_is_not_sent_where_the_notice_said_so_already() -> None:
    desk = Desk()
    desk.warmed(5, 5)
    ended(desk)
    desk.release(an_assigned_event() | PROVEN)

    assert not announce(desk)
    assert len(desk.events.published) == 1


@pytest.mark.parametrize("state", ["partial", "cold", "failed"])
def test_study_warm_is_not_sent_of_a_prefetch_that_did_not_end_warm(state: str) -> None:
    desk = Desk()
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(5, 5)
    ended(desk, state)

    assert not announce(desk)


def test_study_warm_is_never_said_of_what_is_not_proven() -> None:
    desk = Desk()
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(4, 5)
    ended(desk)

    assert not announce(desk)


def test_study_warm_is_not_sent_before_its_notice_but_by_the_notice_itself() -> None:
    desk = Desk()
    desk.warmed(5, 5)
    ended(desk)
    assert not announce(desk)
    # a notice that was made while it was cold, and is published only now
    cold = desk.ports.assignments.claim_notice(_cold_notice(), now=NOW - timedelta(minutes=5))
    assert cold is not None

    desk.release(an_assigned_event() | TIMED_OUT)

    assert [kind for kind, _ in desk.events.published] == ["Assignment Released", "Study Warm"]


def _cold_notice() -> Notice:
    return Notice.parse(
        {
            "assignment_id": "a-1",
            "prefetch_id": PREFETCH_ID,
            "origin_id": "store",
            "study_instance_uid": "1.2.3",
            "reading_location": "home",
            "reason": "cold",
            "why": "deadline reached; no plan",
            "released_at": NOW - timedelta(minutes=5),
            "deadline_at": None,
            "current": None,
            "priors": (),
        }
    )


def test_study_warm_that_cannot_be_sent_is_left_to_the_next() -> None:
    desk = Desk()
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(5, 5)
    ended(desk)
    desk.events.is_down = True
    with pytest.raises(OriginUnavailableError):
        announce(desk)
    desk.events.is_down = False

    assert announce(desk)


def test_a_prefetch_that_ends_after_the_deadline_tells_it_by_study_warm() -> None:
    desk = Desk()
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(5, 5)
    state = a_state(prefetch_id=PREFETCH_ID, assignment_id="a-1", waiter="gone") | {
        "candidates": {"candidates": {"bucket": "b", "key": "k"}, "others": 1},
        "nodes": [a_node()],
    }

    record_outcome.run(state, desk=desk.ports, tasks=MemoryTasks(), now=NOW)

    assert [kind for kind, _ in desk.events.published] == ["Assignment Released", "Study Warm"]


def admitted(desk: Desk, **detail: Any) -> None:
    admit_assignment.run(
        {"event": an_assigned_event(**detail), "execution_id": "execution-1"},
        assignments=desk.assignments,
        runs=desk.runs,
        routing=Routing(nodes={"n": "https://q"}, locations={"home": ("n",)}),
        gate=GATE,
        now=NOW,
    )


def sweep(desk: Desk, minutes: float) -> sweep_assignments.Swept:
    at = NOW + timedelta(minutes=minutes)
    return sweep_assignments.run(desk=desk.ports, gate=GATE, histories=HISTORIES, now=at)


def test_a_notice_that_nothing_released_is_released_by_the_watchdog_once() -> None:
    desk = Desk()
    admitted(desk)
    desk.warmed(2, 5)

    assert sweep(desk, 4).overdue == 0
    assert sweep(desk, 6).published == 1
    assert sweep(desk, 7).overdue == 0

    [(_, notice)] = desk.events.published
    assert (notice["reason"], notice["deadline_at"]) == ("partial", "2026-11-24T12:05:00Z")
    assert notice["why"] == "deadline reached; 2 of 5 frames proven"


def test_the_watchdog_publishes_nothing_that_the_machine_published() -> None:
    desk = Desk()
    admitted(desk)
    desk.release(an_assigned_event() | TIMED_OUT)

    assert sweep(desk, 6) == sweep_assignments.Swept(overdue=0, published=0)


def test_a_notice_that_cannot_be_released_holds_no_other_back() -> None:
    desk = Desk()
    for number in range(3):
        admitted(desk, assignment_id=f"a-{number}")
    publish = desk.events.publish

    def failing_once(detail_type: str, detail: dict[str, Any]) -> None:
        if detail["assignment_id"] == "a-0":
            raise OriginUnavailableError("event bus: 503")
        publish(detail_type, detail)

    desk.events.publish = failing_once  # type: ignore[method-assign]
    with pytest.raises(OriginUnavailableError):
        sweep(desk, 6)
    assert len(desk.events.published) == 2

    desk.events.publish = publish  # type: ignore[method-assign]
    assert sweep(desk, 7).published == 1


def test_a_notice_is_recorded_from_waiting_to_what_was_proven() -> None:
    desk = Desk()
    reader = {"issuer": "https://issuer", "subject": "reader-1", "groups": ["chest"]}
    admitted(desk, assigned_to=reader)
    [waiting] = desk.runs.find(RunFilter(kind="notice", outcome="waiting"), limit=9)
    assert waiting.deadline_at == NOW + timedelta(minutes=5)

    desk.release(an_assigned_event() | TIMED_OUT)

    [run] = desk.runs.find(RunFilter(reader="reader-1"), limit=9)
    assert (run.outcome, run.cause) == ("cold", "deadline reached; no plan")
    assert run.of == PREFETCH_ID


def test_a_prefetch_and_its_orders_are_recorded_and_found_by_what_they_are_about() -> None:
    world = World()
    world.through("PlanWarm", a_state(reading_locations=["both"], of="imp-1"))

    assert world.runs.run("p-1").of == "imp-1"  # type: ignore[union-attr]
    patient_key = world.runs.run("p-1").patient_key  # type: ignore[union-attr]
    found = world.runs.find(RunFilter(patient_key=patient_key), limit=9)
    assert {run.run_id for run in found} == {
        "p-1", warm_run_id("p-1", "node-a"), warm_run_id("p-1", "node-b"),
    }  # fmt: skip
    assert {run.outcome for run in found} == {"warming", "ordered"}


def test_warming_goes_on_without_the_lookup_key_and_the_record_says_so() -> None:
    world = World()
    world.lookup_keys.is_down = True

    state = world.through("PlanWarm", a_state())

    assert state["plan"]["orders"]
    run = world.runs.run("p-1")
    assert run is not None
    assert run.patient_key is None
    assert run.cause == (
        "not found by patient or accession: AccessDeniedError: lookup key: AccessDeniedException"
    )


def test_a_drained_node_gets_no_order_while_its_location_has_another() -> None:
    world = World()
    world.nodes.drain("node-a", by="one", reason="disk", at=NOW)

    both = world.through("PlanWarm", a_state(reading_locations=["both"]))
    home = world.through("PlanWarm", a_state(reading_locations=["home"]))

    assert [order["node"] for order in both["plan"]["orders"]] == ["node-b"]
    assert [order["node"] for order in home["plan"]["orders"]] == ["node-a"]
