"""Replay: each state that a run may be in is put right, left alone, or refused with the reason."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from teleprefetch.assignment import Assignment
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.operate.replay import Replayed, replay
from teleprefetch.operate.replay_subjects import Order
from teleprefetch.run_records import RunFilter, notice_run_id
from tests.builders import a_job_event
from tests.contracts.test_memory_and_aws import a_notice
from tests.operate.fake_site import NOW, STUDY, FakeSite


class Pauses:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def run_replay(site: FakeSite, *named: str, **changed: Any) -> list[Replayed]:
    given: dict[str, Any] = {
        "named": named,
        "since": NOW - timedelta(days=1),
        "statuses": ("FAILED", "TIMED_OUT", "ABORTED"),
        "outcomes": (),
        "mode": "auto",
        "by": "nina",
        "reason": "archive was down",
        "is_dry": False,
        "rate_per_s": 5,
    }
    sleep = changed.pop("sleep", Pauses())
    now = changed.pop("now", NOW)
    order = Order(**(given | changed))
    return list(replay(site.as_site, order, now=lambda: now, sleep=sleep))


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_what_failed_lately_goes_on_where_it_failed(status: str) -> None:
    site = FakeSite()
    site.prefetch(status=status)
    site.record()

    [done] = run_replay(site)

    assert (done.action, done.execution) == ("redrive", "study-1")
    assert site.histories.redriven == ["study-1"]


def test_what_is_chosen_by_status_is_of_that_status_and_time() -> None:
    site = FakeSite()
    site.prefetch("study-1", status="FAILED")
    site.prefetch("study-2", status="TIMED_OUT")
    site.prefetch("study-3", status="FAILED", started_at=NOW - timedelta(days=3))

    assert [one.subject for one in run_replay(site, statuses=("FAILED",))] == ["study-1"]


def test_what_ended_15_days_ago_starts_anew_under_a_name_made_of_the_old_one() -> None:
    site = FakeSite()
    ended = NOW - timedelta(days=15)
    site.prefetch(started_at=ended - timedelta(hours=1), stopped_at=ended)
    site.record()

    [done] = run_replay(site, "study-1")

    assert (done.action, done.execution) == ("new", "study-1-r1")
    assert done.why == "it ended 15 days ago, and redrive is possible for 14"
    request = site.histories.inputs["arn:aws:states:us-east-1:1:execution:prefetch:study-1-r1"][
        "request"
    ]
    assert request["prefetch_id"] == "study-1-r1"
    assert (request["of"], request["cause"], request["assignment_id"]) == (
        "study-1", "operator", "a-1",
    )  # fmt: skip
    assert request["waiter"] == ""  # nobody is given a first notice again


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"stopped_at": NOW - timedelta(days=14)}, "it ended 14 days ago"),
        ({"events": 24_999}, "its history holds 24999 events"),
        (
            {"redrive_status": "NOT_REDRIVABLE", "redrive_status_reason": "started too long ago"},
            "started too long ago",
        ),
        ({"status": "SUCCEEDED"}, "the execution is SUCCEEDED"),
    ],
)
def test_a_redrive_that_aws_would_refuse_is_refused_with_the_reason(
    changed: dict[str, Any], reason: str
) -> None:
    site = FakeSite()
    site.prefetch(**changed)
    site.record()

    [done] = run_replay(site, "study-1", mode="redrive")

    assert done.action == "refuse"
    assert done.why.startswith(f"cannot be redriven: {reason}")
    assert site.histories.redriven == []
    assert site.runs.find(RunFilter(kind="replay"), limit=9) == ()


def test_a_redrive_that_aws_refuses_all_the_same_is_told_and_not_recorded() -> None:
    site = FakeSite()
    site.prefetch()
    site.record()
    site.histories.refusal = "ExecutionNotRedrivable"

    [done] = run_replay(site)

    assert (done.action, done.execution) == ("refuse", None)
    assert "ExecutionNotRedrivable" in done.why
    assert site.runs.find(RunFilter(kind="replay"), limit=9) == ()


def test_a_run_that_runs_is_left_alone() -> None:
    site = FakeSite()
    site.prefetch(status="RUNNING", stopped_at=None)
    site.record(outcome="warming")

    [done] = run_replay(site, "study-1")

    assert (done.action, done.why) == ("skip", "it runs, since 2026-11-24 11:00:00Z")


def test_what_succeeded_and_is_still_held_is_left_alone() -> None:
    site = FakeSite()
    site.prefetch(status="SUCCEEDED")
    site.record(outcome="warm")
    site.warmed(still_held=True)

    for mode in ("auto", "redrive", "new"):
        [done] = run_replay(site, "study-1", mode=mode)
        assert done.action == "skip"
        assert done.why.startswith("already right")


def test_what_succeeded_and_was_evicted_starts_anew() -> None:
    site = FakeSite()
    site.prefetch(status="SUCCEEDED")
    site.record(outcome="warm")
    site.warmed(still_held=False)

    [done] = run_replay(site, "study-1")

    assert (done.action, done.execution) == ("new", "study-1-r1")


def test_what_no_node_can_tell_of_starts_anew_since_that_fetches_nothing_twice() -> None:
    site = FakeSite()
    site.prefetch(status="SUCCEEDED")
    site.record(outcome="warm")
    site.warmed(still_held=True)
    site.node_http.held.clear()

    assert run_replay(site, "study-1")[0].action == "new"


def test_a_partial_outcome_is_found_by_outcome_and_starts_anew() -> None:
    site = FakeSite()
    site.prefetch(status="SUCCEEDED")
    site.record(outcome="partial")

    [done] = run_replay(site, outcomes=("partial", "cold"), statuses=())

    assert (done.subject, done.action) == ("study-1", "new")


def test_a_notice_that_is_out_is_told_and_none_is_sent_again() -> None:
    site = FakeSite()
    site.prefetch()
    site.record(assignment_id="a-1")
    site.assignments.claim_notice(a_notice(reason="cold"), now=NOW)

    [done] = run_replay(site, "study-1")

    assert done.action == "redrive"
    assert done.why.endswith("its notice went out 2026-11-24 12:00:00Z, none is sent again")


def test_an_assignment_names_its_prefetch_and_so_does_a_study() -> None:
    site = FakeSite()
    site.prefetch()
    site.record()
    site.record(notice_run_id("a-1"), kind="notice", outcome="cold", of="study-1")

    assert run_replay(site, "a-1", is_dry=True)[0].subject == "study-1"
    assert run_replay(site, STUDY, is_dry=True)[0].subject == "study-1"


def test_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(StudyNotFoundError, match="WHAT: "):
        run_replay(FakeSite(), "nothing")


def test_a_forgotten_execution_is_made_anew_from_its_record_with_its_reader() -> None:
    site = FakeSite()
    site.record(assignment_id="a-1", outcome="cold")
    reader = {"issuer": "https://issuer", "subject": "reader-1"}
    admitted = Assignment.parse(
        {
            "assignment_id": "a-1", "prefetch_id": "study-1", "origin_id": "store",
            "study_instance_uid": STUDY, "reading_location": "home", "priority": "high",
            "deadline_at": NOW, "wait_s": 0, "is_first": True, "assigned_to": reader,
        }
    )  # fmt: skip
    site.assignments.admit(admitted, execution_id="one")

    [done] = run_replay(site, "study-1")

    assert (done.action, done.status) == ("new", "forgotten, cold")
    assert done.why.startswith("Step Functions does not remember")
    [state] = site.histories.inputs.values()
    assert state["request"]["assigned_to"]["subject"] == "reader-1"


def test_a_forgotten_import_whose_event_is_gone_is_refused() -> None:
    site = FakeSite()
    site.record("imp-1", kind="import")

    [done] = run_replay(site, "imp-1")

    assert done.action == "refuse"
    assert done.why.endswith("its input is not known any more")


def an_import(site: FakeSite, **changed: Any) -> str:
    from teleprefetch.domain.import_events import import_id_of
    from teleprefetch.run_records import PastExecution

    about = {
        "machine": "import",
        "name": "7cf0fb1c_1",
        "arn": "arn:aws:states:us-east-1:1:execution:import:7cf0fb1c_1",
        "status": "FAILED",
        "started_at": NOW - timedelta(days=20),
        "stopped_at": NOW - timedelta(days=20),
    }
    site.histories.hold(PastExecution.parse(about | changed), a_job_event())
    return import_id_of(a_job_event())


def test_a_failed_import_starts_anew_with_its_event_under_its_imports_name() -> None:
    site = FakeSite()
    import_id = an_import(site)

    [done] = run_replay(site, since=NOW - timedelta(days=30))

    assert (done.action, done.execution) == ("new", f"{import_id}-r1")
    execution = site.histories.execution("import", f"{import_id}-r1")
    assert execution is not None
    assert site.histories.input_of(execution) == a_job_event()


def test_an_import_that_was_resolved_since_is_left_alone_and_a_refused_one_refused() -> None:
    site = FakeSite()
    import_id = an_import(site)
    site.record(import_id, kind="import", outcome="prefetching")
    [done] = run_replay(site, since=NOW - timedelta(days=30))
    assert (done.action, done.why.split(":")[0]) == ("skip", "already right")

    site.record(import_id, kind="import", outcome="refused", cause="detail.jobId: missing")
    [done] = run_replay(site, since=NOW - timedelta(days=30))
    assert (done.action, done.why) == (
        "refuse", "the event was refused and would be again: detail.jobId: missing",
    )  # fmt: skip


def test_a_replay_that_runs_or_ended_warm_is_not_repeated_and_a_failed_one_is() -> None:
    site = FakeSite()
    old = NOW - timedelta(days=20)
    site.prefetch(started_at=old, stopped_at=old)
    site.record()
    assert run_replay(site, "study-1")[0].execution == "study-1-r1"

    [again] = run_replay(site, "study-1")
    assert (again.action, again.why) == ("skip", "its replay study-1-r1 runs")

    ended = {"status": "SUCCEEDED", "stopped_at": NOW}
    site.prefetch("study-1-r1", **ended)
    site.record("study-1-r1", outcome="warm")
    [again] = run_replay(site, "study-1")
    assert (again.action, again.why) == ("skip", "already right: its replay study-1-r1 ended warm")

    site.record("study-1-r1", outcome="cold")
    assert run_replay(site, "study-1")[0].execution == "study-1-r2"


def test_a_run_and_its_replay_that_both_failed_are_one_case() -> None:
    site = FakeSite()
    site.prefetch("study-1", started_at=NOW - timedelta(hours=3))
    site.prefetch("study-1-r1", started_at=NOW - timedelta(hours=1))

    assert [one.subject for one in run_replay(site)] == ["study-1-r1"]


def test_a_dry_run_tells_the_same_and_does_nothing() -> None:
    site = FakeSite()
    site.prefetch()
    site.record()
    pauses = Pauses()

    [told] = run_replay(site, is_dry=True, sleep=pauses)

    assert (told.action, told.execution) == ("redrive", None)
    assert site.histories.redriven == []
    assert site.runs.find(RunFilter(kind="replay"), limit=9) == ()
    assert pauses.seconds == []


def test_each_replay_is_recorded_with_who_and_why_and_found_by_its_study() -> None:
    site = FakeSite()
    site.prefetch()
    site.record(patient_key="bb", reader="reader-1")

    run_replay(site)

    [record] = site.runs.find(RunFilter(kind="replay", study_instance_uid=STUDY), limit=9)
    assert (record.by, record.reason, record.of) == ("nina", "archive was down", "study-1")
    assert (record.outcome, record.patient_key, record.reader) == ("redriven", "bb", "reader-1")
    assert record.execution_arn == "arn:aws:states:us-east-1:1:execution:prefetch:study-1"


def test_replays_go_no_faster_than_asked() -> None:
    site = FakeSite()
    for number in range(4):
        site.prefetch(f"study-{number}")
    pauses = Pauses()

    run_replay(site, rate_per_s=2, sleep=pauses)

    assert pauses.seconds == [0.5] * 4


def test_a_run_that_was_replayed_99_times_is_refused() -> None:
    site = FakeSite()
    old = NOW - timedelta(days=20)
    for name in ("study-1", *(f"study-1-r{number}" for number in range(1, 100))):
        site.prefetch(name, started_at=old, stopped_at=old)
    site.record()

    [done] = run_replay(site, "study-1")

    assert (done.action, done.why) == ("refuse", "replayed 99 times: something else is wrong")


def test_time_is_what_the_caller_says() -> None:
    site = FakeSite()
    site.prefetch(stopped_at=NOW)
    site.record()
    later: datetime = NOW + timedelta(days=14, seconds=1)

    assert run_replay(site, "study-1", now=later, is_dry=True)[0].action == "new"
