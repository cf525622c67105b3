"""`reconcile`: what it would do is told by the thing, what it did is recorded in one way."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws
from typer.testing import CliRunner

from teleprefetch.cli import app
from teleprefetch.console.wanted_acts import Reconcile
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.operate import reconcile_command
from teleprefetch.operate.acts import Actor
from teleprefetch.operate.reconciling import Found, Reconciled, reconcile, would_reconcile
from teleprefetch.prefetch import ChangedImageSet, EndedImportJob, Outcome
from teleprefetch.run_records import PastExecution, Run, RunFilter
from teleprefetch.steps import sweep_imports
from tests.builders import DATASTORE_ID, IMAGE_SET_ID
from tests.console.console_site import ConsoleSite, busy_site

NINA = Actor(by="nina", reason="event bus was down")
NOW = datetime.now(UTC)
ENDED_AT = NOW - timedelta(minutes=1)  # its event may still come: the grace is the schedule's alone
JOB = EndedImportJob(
    datastore_id=DATASTORE_ID,
    job_id="job-1",
    job_status="COMPLETED",
    output_s3_uri="s3://output/x/",
    ended_at=ENDED_AT,
)
IMAGE_SET = ChangedImageSet(
    datastore_id=DATASTORE_ID,
    image_set_id=IMAGE_SET_ID,
    version_id=2,
    changed_at=NOW - timedelta(hours=3),
)


class Store:
    """Jobs that ended and image sets that changed in one data store."""

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        return (JOB,)

    def between(self, since: datetime, until: datetime) -> tuple[ChangedImageSet, ...]:
        return (IMAGE_SET,) if since <= IMAGE_SET.changed_at <= until else ()


class Away:
    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        raise OriginUnavailableError("data store: 503")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsoleSite]:
    """One notice is overdue; a job and an image set have no outcome."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # commands look at the clock: minutes may have passed since this file was read
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC))
    with mock_aws():
        site = busy_site(NOW)
        site.import_jobs[DATASTORE_ID] = Store()
        site.image_set_changes[DATASTORE_ID] = Store()
        yield site


def would(site: ConsoleSite) -> tuple[Reconciled, tuple[Found, ...]]:
    return would_reconcile(site.as_site, window_hours=24, now=NOW)


def found(site: ConsoleSite) -> dict[str, tuple[str, str]]:
    return {one.kind: (one.action, one.why) for one in would(site)[1]}


def commands(site: ConsoleSite) -> list[Run]:
    return list(site.runs.find(RunFilter(kind="command"), limit=9))


def state_of(site: ConsoleSite) -> tuple[object, ...]:
    runs = site.runs.find(RunFilter(), limit=1000)
    return runs, dict(site.histories.known), list(site.events.published), site.documents.__dict__


def test_a_dry_one_tells_each_thing_with_why_and_changes_nothing(site: ConsoleSite) -> None:
    before = state_of(site)

    _, told = would(site)

    assert state_of(site) == before
    by_kind = {one.kind: one for one in told}
    assert [one.kind for one in told] == ["import job", "image set", "notice"]
    assert (by_kind["import job"].subject, by_kind["notice"].subject) == ("job-1", "a-3")
    assert by_kind["image set"].subject == f"{IMAGE_SET_ID} version 2"
    assert by_kind["image set"].datastore_id == by_kind["import job"].datastore_id == DATASTORE_ID
    assert {one.action for one in told} == {"start", "release"}
    ended_at = ENDED_AT.isoformat(timespec="seconds")
    assert by_kind["import job"].why == f"it ended COMPLETED at {ended_at}, and has no outcome"
    assert "and has no outcome" in by_kind["image set"].why
    assert by_kind["notice"].why.startswith("its deadline was ")


def test_what_a_dry_one_told_is_what_is_done_then(site: ConsoleSite) -> None:
    counts, _ = would(site)

    assert reconcile(site.as_site, NINA, window_hours=24, now=NOW) == counts
    assert counts == Reconciled(
        imports_ended=1,
        imports_started=1,
        image_sets_changed=1,
        image_sets_started=1,
        notices_overdue=1,
        notices_published=1,
    )
    assert [name for machine, name in site.histories.known if machine == "import"]


def test_what_has_an_outcome_is_not_told(site: ConsoleSite) -> None:
    for event in (sweep_imports.event_of(JOB), sweep_imports.events_of(IMAGE_SET)[1]):
        subject = import_id_of(event)
        site.outcomes.record(Outcome(subject=subject, state="prefetching", recorded_at=NOW))

    assert found(site).keys() == {"notice"}


@pytest.mark.parametrize(
    ("status", "why"),
    [("RUNNING", "is RUNNING"), ("FAILED", "is FAILED; teleprefetch replay starts it anew")],
)
def test_what_was_started_already_is_left_and_how_to_start_it_anew_is_told(
    site: ConsoleSite, status: str, why: str
) -> None:
    name = import_id_of(sweep_imports.event_of(JOB))
    about = {"machine": "import", "name": name, "arn": "arn", "started_at": NOW, "status": status}
    site.histories.hold(PastExecution.parse(about), {})

    action, told = found(site)["import job"]

    assert (action, told.endswith(f"execution {name} {why}")) == ("leave", True)
    assert would(site)[0].imports_started == 0


def test_a_notice_behind_a_failed_execution_is_told_by_it(site: ConsoleSite) -> None:
    about = {"machine": "assignment", "name": "x", "arn": "arn", "started_at": NOW}
    state = {"detail": {"assignment_id": "a-9"}}
    site.histories.hold(PastExecution.parse(about | {"status": "TIMED_OUT"}), state)

    notices = {one.subject: one.why for one in would(site)[1] if one.kind == "notice"}

    assert notices["a-9"] == "its execution TIMED_OUT"
    assert notices.keys() == {"a-3", "a-9"}


def by_the_console(site: ConsoleSite) -> None:
    wanted = Reconcile(window_hours=24)
    preview = wanted.preview(site.as_site, now=NOW)
    wanted.carry_out(site.as_site, NINA, preview, now=NOW)


def by_the_command(site: ConsoleSite) -> None:
    assert run("--as", NINA.by, "--reason", NINA.reason).exit_code == 0


@pytest.mark.parametrize("act", [by_the_console, by_the_command])
def test_the_console_and_the_command_record_it_alike(
    site: ConsoleSite, opened: None, act: Callable[[ConsoleSite], None]
) -> None:
    act(site)

    [record] = commands(site)
    assert (record.by, record.reason, record.outcome) == (NINA.by, NINA.reason, "done")
    assert record.cause == "reconcile: 1 imports and 1 image sets started, 1 notices released"


def test_one_that_ends_half_way_is_recorded_with_what_ended_it(site: ConsoleSite) -> None:
    site.import_jobs["away"] = Away()

    with pytest.raises(OriginUnavailableError):
        reconcile(site.as_site, NINA, window_hours=24, now=NOW)

    [record] = commands(site)
    assert record.outcome == "failed"
    assert record.cause == "reconcile: ended half way by OriginUnavailableError"
    assert [kind for kind, _ in site.events.published] == ["Assignment Released"]


@pytest.fixture
def opened(site: ConsoleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds this stack."""
    monkeypatch.setattr(reconcile_command, "open_site", lambda stack: site)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["reconcile", *arguments], env={"NO_COLOR": "1"})


def test_the_command_tells_it_as_a_table_and_as_one_object(site: ConsoleSite, opened: None) -> None:
    before = state_of(site)

    table, told = run("--dry-run").stdout, run("--dry-run", "--json")

    assert state_of(site) == before
    assert "Would be done" in table
    assert all(word in table for word in ("job-1", IMAGE_SET_ID, "a-3", "has no outcome"))
    document = json.loads(told.stdout)
    assert told.exit_code == 0
    assert (document["dry_run"], document["imports_started"]) == (True, 1)
    assert [one["action"] for one in document["found"]] == ["start", "start", "release"]


def test_a_dry_one_that_finds_nothing_says_so(opened: None, site: ConsoleSite) -> None:
    site.import_jobs.clear()
    reconcile(site.as_site, NINA, window_hours=1, now=NOW)

    assert "Would be done: nothing; " in run("--dry-run", "--window-hours", "1").stdout


def test_without_a_reason_nothing_is_done(site: ConsoleSite, opened: None) -> None:
    done = run("--reason", "")

    assert done.exit_code == 2
    assert "--reason: missing" in done.stderr
    assert site.events.published == []
