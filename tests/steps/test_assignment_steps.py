"""Steps of the assignment machine: admitted once, waited for, released once whatever fails."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError
from teleprefetch.settings import Gate, Routing
from teleprefetch.steps import admit_assignment, await_warm, release_assignment
from teleprefetch.steps.plan_warm import plan_key
from tests.builders import NOW, a_plan, a_planned_prior, a_report, a_warmth, an_assigned_event
from tests.fakes import (
    MemoryAssignments,
    MemoryDocuments,
    MemoryEvents,
    MemoryExecutions,
    MemoryOutcomes,
    MemoryProgress,
    MemoryRuns,
)

GATE = Gate(default_deadline_s=300)
ROUTING = Routing(nodes={"node-a": "https://queue/a"}, locations={"home": ("node-a",)})
PREFETCH_ID = prefetch_id_of_assignment("a-1")


def admit(event: Any, assignments: MemoryAssignments | None = None, **changed: Any) -> Any:
    given: dict[str, Any] = {"runs": MemoryRuns(), "routing": ROUTING, "gate": GATE, "now": NOW}
    return admit_assignment.run(
        {"event": event, "execution_id": changed.pop("execution_id", "execution-1")},
        assignments=assignments or MemoryAssignments(),
        **(given | changed),
    )


def test_the_notice_waits_until_shortly_before_its_deadline() -> None:
    assignment = admit(an_assigned_event())

    assert assignment.deadline_at == NOW + timedelta(seconds=300)
    assert assignment.wait_s == 300 - admit_assignment.RELEASE_MARGIN_S


def test_the_worklists_own_deadline_counts_first() -> None:
    deadline_at = (NOW + timedelta(seconds=60)).isoformat()

    assert admit(an_assigned_event(deadline_at=deadline_at)).wait_s == 57


def test_a_deadline_in_the_past_leaves_no_time_to_wait() -> None:
    assert admit(an_assigned_event(), now=NOW + timedelta(hours=1)).wait_s == 0


def test_a_clock_that_is_behind_the_worklists_gives_no_longer_wait() -> None:
    early = NOW - timedelta(hours=1)

    assert admit(an_assigned_event(), now=early).deadline_at == early + timedelta(seconds=300)


def test_a_second_event_about_an_assignment_is_not_the_first() -> None:
    assignments = MemoryAssignments()

    assert admit(an_assigned_event(), assignments).is_first
    assert admit(an_assigned_event(), assignments).is_first
    assert not admit(an_assigned_event(), assignments, execution_id="execution-2").is_first


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ({"assignment_id": ""}, "detail.assignment_id"),
        ({"assignment_id": "a b"}, "detail.assignment_id"),
        ({"study_instance_uid": "1.2.3\n"}, "detail.study_instance_uid"),
        ({"schema_version": "2"}, "detail.schema_version"),
        ({"deadline_at": "tomorrow"}, "detail.deadline_at"),
        ({"deadline_at": "2026-11-24T12:00:00"}, "detail.deadline_at"),
        ({"priority": "asap"}, "detail.priority"),
        ({"patient_name": "Doe^Jane"}, "detail.patient_name"),
        ({"reading_location": "nowhere"}, "reading_location"),
    ],
)
def test_a_malformed_assignment_is_refused_by_the_name_of_its_field(
    detail: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=f"^{field}: ") as caught:
        admit(an_assigned_event(**detail))
    assert "Doe" not in str(caught.value)


def test_the_prefetch_of_an_assignment_carries_its_token_priority_and_location() -> None:
    executions = MemoryExecutions()
    payload = {
        "assignment": admit(an_assigned_event(priority="stat")).model_dump(mode="json"),
        "task_token": "token",
    }

    assert await_warm.run(payload, executions=executions)

    request = executions.started[PREFETCH_ID]["request"]
    assert (request["waiter"], request["priority"]) == ("token", "stat")
    assert request["reading_locations"] == ["home"]


def test_a_prefetch_that_runs_already_is_not_started_again() -> None:
    executions = MemoryExecutions()
    payload = {"assignment": admit(an_assigned_event()).model_dump(mode="json"), "task_token": "1"}
    await_warm.run(payload, executions=executions)

    assert not await_warm.run(payload | {"task_token": "2"}, executions=executions)


def test_waiting_without_a_token_is_refused() -> None:
    payload = {"assignment": admit(an_assigned_event()).model_dump(mode="json")}
    with pytest.raises(InvalidPayloadError, match=r"^task_token: "):
        await_warm.run(payload, executions=MemoryExecutions())


class Desk:
    """Everything a release touches."""

    def __init__(self) -> None:
        self.assignments = MemoryAssignments()
        self.progress = MemoryProgress()
        self.documents = MemoryDocuments()
        self.events = MemoryEvents()
        self.outcomes = MemoryOutcomes()
        self.runs = MemoryRuns()
        self.viewer_url: str | None = None

    def warmed(self, verified: int, planned: int) -> None:
        self.documents.put(plan_key(PREFETCH_ID), a_plan(priors=(), prefetch_id=PREFETCH_ID))
        self.progress.report(
            a_report(a_warmth("1.2.3", verified, planned), prefetch_id=PREFETCH_ID)
        )

    @property
    def ports(self) -> release_assignment.Desk:
        return release_assignment.Desk(
            assignments=self.assignments,
            progress=self.progress,
            documents=self.documents,
            documents_bucket="documents",
            events=self.events,
            outcomes=self.outcomes,
            runs=self.runs,
            viewer_url=self.viewer_url,
        )

    def release(self, state: dict[str, Any], *, now: datetime = NOW) -> release_assignment.Released:
        return release_assignment.run(state, desk=self.ports, gate=GATE, now=now)


PROVEN = {"prefetch": {"prefetch_id": PREFETCH_ID, "state": "warm"}}
TIMED_OUT = {"error": {"Error": "States.Timeout", "Cause": ""}}


def test_a_proven_study_is_released_as_warm() -> None:
    desk = Desk()
    desk.warmed(5, 5)

    released = desk.release(an_assigned_event() | PROVEN)

    assert (released.published, released.reason, released.why) == (True, "warm", "")
    [(detail_type, notice)] = desk.events.published
    assert detail_type == "Assignment Released"
    assert notice["current"]["frames_verified"] == 5


def test_at_the_deadline_the_notice_says_what_is_proven_and_that_time_ran_out() -> None:
    desk = Desk()
    desk.warmed(2, 5)

    released = desk.release(an_assigned_event() | TIMED_OUT)

    assert (released.published, released.reason) == (True, "partial")
    assert released.why == "deadline reached; 2 of 5 frames proven"


def test_a_second_release_publishes_nothing_and_tells_what_was_said() -> None:
    desk = Desk()
    desk.warmed(2, 5)
    desk.release(an_assigned_event() | TIMED_OUT)
    desk.warmed(5, 5)

    again = desk.release(an_assigned_event() | PROVEN)

    assert (again.published, again.reason) == (False, "partial")
    assert len(desk.events.published) == 1


def test_a_bus_that_is_down_leaves_the_notice_to_the_next_try_unchanged() -> None:
    desk = Desk()
    desk.events.is_down = True
    with pytest.raises(OriginUnavailableError):
        desk.release(an_assigned_event() | TIMED_OUT)
    desk.events.is_down = False

    desk.release(an_assigned_event() | TIMED_OUT, now=NOW + timedelta(seconds=1))

    [(_, notice)] = desk.events.published
    assert notice["released_at"] == "2026-11-24T12:00:00Z"


def test_a_failure_before_any_plan_is_released_as_cold_with_its_cause() -> None:
    desk = Desk()
    cause = json.dumps({"errorMessage": "reading_location: not in ROUTING.locations"})
    state = an_assigned_event() | {"error": {"Error": "InvalidPayloadError", "Cause": cause}}

    released = desk.release(state)

    assert released.reason == "cold"
    assert released.why == (
        "InvalidPayloadError: reading_location: not in ROUTING.locations; no plan"
    )


def test_the_failure_of_the_machine_itself_releases_too() -> None:
    desk = Desk()
    status = {
        "source": "aws.states",
        "detail": {"status": "FAILED", "input": json.dumps(an_assigned_event())},
    }

    released = desk.release(status)

    assert (released.published, released.reason) == (True, "cold")
    assert released.why == "States.FAILED; no plan"


def test_a_notice_about_a_thousand_priors_still_fits_an_event() -> None:
    desk = Desk()
    priors = tuple(
        a_planned_prior(
            study_instance_uid="1.2.826.0.1.3680043.8.498.10063222026305117476145011124724494274",
            rank=rank,
            reasons=("same region CHEST +60", "CT after CT +8", "20 % of words shared +0.8") * 3,
        )
        for rank in range(1, 1001)
    )
    desk.documents.put(plan_key(PREFETCH_ID), a_plan(priors=priors, prefetch_id=PREFETCH_ID))

    desk.release(an_assigned_event() | TIMED_OUT)

    [(_, notice)] = desk.events.published
    assert len(json.dumps(notice)) < 250_000
    assert len(notice["priors"]) + notice["priors_not_listed"] == 1000
    assert notice["priors"][0]["rank"] == 1


def test_a_malformed_assignment_is_released_at_once_with_what_can_be_read_of_it() -> None:
    desk = Desk()

    released = desk.release(an_assigned_event(study_instance_uid="1.2.3\n", priority="asap"))

    assert (released.published, released.reason) == (True, "cold")
    assert released.why.startswith("InvalidPayloadError: detail.study_instance_uid: ")
    [(_, notice)] = desk.events.published
    assert (notice["study_instance_uid"], notice["reading_location"]) == (None, "home")


def test_an_event_with_nothing_to_release_is_recorded_as_refused() -> None:
    desk = Desk()

    released = desk.release(an_assigned_event(assignment_id=None))

    assert not released.published
    [outcome] = desk.outcomes.standing.values()
    assert outcome.state == "refused"
    assert outcome.cause.startswith("InvalidPayloadError: detail.assignment_id: ")


@pytest.mark.parametrize("detail", [None, {}, {"input": "{"}, {"input": "[]"}])
def test_a_status_that_cannot_be_read_is_recorded_and_never_raises(detail: Any) -> None:
    desk = Desk()

    assert not desk.release({"source": "aws.states", "detail": detail}).published
    assert len(desk.outcomes.standing) == 1


def test_the_event_goes_from_the_worklist_to_the_prefetch_and_into_the_notice() -> None:
    event = an_assigned_event() | {"id": "6a7e8feb-b491"}
    assignment = admit(event)
    executions, desk = MemoryExecutions(), Desk()

    payload = {"assignment": assignment.model_dump(mode="json"), "task_token": "token"}
    await_warm.run(payload, executions=executions)
    desk.warmed(5, 5)
    desk.release(event | payload | PROVEN)

    [state] = executions.started.values()
    assert state["request"]["event_id"] == "6a7e8feb-b491"
    [(_, notice)] = desk.events.published
    assert notice["event_id"] == "6a7e8feb-b491"
    assert {run.event_id for run in desk.runs.known.values()} == {"6a7e8feb-b491"}


def test_an_assignment_without_an_event_id_stands_for_it() -> None:
    event = {name: value for name, value in an_assigned_event().items() if name != "id"}

    assert admit(event).event_id == "a-1"
