"""A replay at the console: preview, a reason, what comes of it, and who is recorded."""

from datetime import UTC, datetime, timedelta

import pytest

from teleprefetch.local.login.people import OPERATOR
from teleprefetch.run_records import RunFilter
from tests.console.console_site import FAILED, STUDY
from tests.console.running import Running
from tests.console.visiting import Page, Visitor
from tests.waiting import until


@pytest.fixture
def visitor(fresh: Running) -> Visitor:
    visitor = Visitor(fresh.url)
    visitor.log_in(OPERATOR)
    return visitor


def previewed(visitor: Visitor, **fields: object) -> Page:
    form = visitor.get("/replay")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once"), "mode": "auto"}
    return ended(visitor, visitor.post("/replay", about | fields))


def ended(visitor: Visitor, page: Page) -> Page:
    """The job's page once it has ended."""
    assert page.status == 200, page.text

    def look() -> Page | None:
        seen = visitor.get(page.url)
        return None if "data-live" in seen.text else seen

    found = until(look, "the end of the job")
    assert isinstance(found, Page)
    return found


def confirmed(visitor: Visitor, preview: Page, reason: str = "archive was down") -> Page:
    about = {"csrf": preview.hidden("csrf"), "once": preview.hidden("once"), "reason": reason}
    return visitor.post(preview.url, about)


def test_what_failed_is_previewed_confirmed_with_a_reason_and_recorded(
    fresh: Running, visitor: Visitor
) -> None:
    preview = previewed(visitor, status=["FAILED", "TIMED_OUT"], since="24h")
    assert "Would be done" in preview.text
    assert "redrive" in preview.text
    assert "goes on where it failed" in preview.text
    assert "Replay 1<" in preview.text
    assert fresh.site.histories.redriven == []

    done = ended(visitor, confirmed(visitor, preview))

    assert "<h2>Done</h2>" in done.text
    assert "archive was down" in done.text
    assert fresh.site.histories.redriven == ["p-2"]
    [record] = fresh.site.runs.find(RunFilter(kind="replay"), limit=9)
    assert record.by == f"{fresh.issuer.url}#{OPERATOR.subject}"
    assert (record.reason, record.of, record.outcome) == ("archive was down", "p-2", "redriven")
    found = visitor.get("/find?kind=replay").text
    assert "archive was down" in found
    assert OPERATOR.subject in found


def test_a_study_leads_to_a_preview_of_its_newest_prefetch(visitor: Visitor) -> None:
    study = visitor.get(f"/studies/{FAILED}")
    fields = {name: study.hidden(name) for name in ("csrf", "once", "what", "mode")}
    assert "Replay 1<" in ended(visitor, visitor.post("/replay", fields)).text


def test_what_is_right_already_is_left_and_cannot_be_confirmed(
    fresh: Running, visitor: Visitor
) -> None:
    fresh.site.execution(
        "p-1", datetime.now(UTC) - timedelta(hours=2), status="SUCCEEDED", redrive_status=""
    )
    preview = previewed(visitor, what=STUDY)

    assert "already right" in preview.text
    assert "There is nothing to replay" in preview.text
    assert "Confirm" not in preview.text


def test_a_run_that_is_refused_says_why(fresh: Running, visitor: Visitor) -> None:
    preview = previewed(visitor, what="a-2", mode="redrive")
    assert "refuse" in preview.text
    assert "cannot be redriven" in preview.text


def test_a_replay_without_a_reason_is_refused(fresh: Running, visitor: Visitor) -> None:
    preview = previewed(visitor, what="p-2")
    for reason in ("", "  ", "x" * 501):
        answer = confirmed(visitor, preview, reason)
        assert answer.status == 400
        assert "reason: " in answer.text
    assert fresh.site.histories.redriven == []


def test_a_form_sent_twice_replays_once(fresh: Running, visitor: Visitor) -> None:
    fresh.site.execution(
        "p-2", datetime.now(UTC) - timedelta(days=15),
        stopped_at=datetime.now(UTC) - timedelta(days=15),
    )  # fmt: skip
    preview = previewed(visitor, what="p-2")
    first, second = confirmed(visitor, preview), confirmed(visitor, preview)

    assert first.url == second.url
    ended(visitor, first)
    assert len(fresh.site.runs.find(RunFilter(kind="replay"), limit=9)) == 1


def test_only_what_was_shown_is_replayed_not_what_failed_meanwhile(
    fresh: Running, visitor: Visitor
) -> None:
    preview = previewed(visitor, status=["FAILED"], since="24h")
    fresh.site.execution("p-9", datetime.now(UTC) - timedelta(minutes=2))

    done = ended(visitor, confirmed(visitor, preview))

    assert fresh.site.histories.redriven == ["p-2"]
    assert "p-9" not in done.text


def test_what_was_mended_meanwhile_is_skipped(fresh: Running, visitor: Visitor) -> None:
    preview = previewed(visitor, what="p-2")
    fresh.site.execution("p-2", datetime.now(UTC), status="RUNNING", stopped_at=None)

    done = ended(visitor, confirmed(visitor, preview))

    assert "skip" in done.text
    assert fresh.site.histories.redriven == []


def test_one_that_is_not_known_any_more_is_told_and_the_others_go_on(
    fresh: Running, visitor: Visitor
) -> None:
    fresh.site.execution("p-8", datetime.now(UTC) - timedelta(minutes=30))
    preview = previewed(visitor, status=["FAILED"], since="24h")
    assert "Replay 2<" in preview.text
    del fresh.site.histories.known["prefetch", "p-8"]

    done = ended(visitor, confirmed(visitor, preview))

    assert "StudyNotFoundError" in done.text
    assert fresh.site.histories.redriven == ["p-2"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"what": "", "status": []}, "what"),
        ({"status": ["EXPLODED"]}, "status"),
        ({"what": "p-2", "mode": "hope"}, "mode"),
        ({"what": "p-2", "since": "soon"}, "since"),
        ({"what": "p-2", "outcome": ["nope"]}, "outcome"),
    ],
)
def test_an_order_that_is_wrong_is_told_by_its_field(
    visitor: Visitor, fields: dict[str, object], named: str
) -> None:
    form = visitor.get("/replay")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once")}
    answer = visitor.post("/replay", about | fields)
    assert answer.status == 400
    assert f"{named}: " in answer.text.partition('role="alert"')[2]


def test_a_name_that_nobody_knows_ends_the_preview_and_says_so(visitor: Visitor) -> None:
    assert "StudyNotFoundError: WHAT" in previewed(visitor, what="nobody").text


def test_a_preview_that_failed_cannot_be_confirmed(visitor: Visitor) -> None:
    preview = previewed(visitor, what="nobody")
    form = visitor.get("/replay")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once"), "reason": "why"}
    assert visitor.post(preview.url, about).status == 400


def test_a_replay_cannot_be_confirmed_as_if_it_were_a_preview(visitor: Visitor) -> None:
    done = ended(visitor, confirmed(visitor, previewed(visitor, what="p-2")))
    form = visitor.get("/replay")
    about = {"csrf": form.hidden("csrf"), "once": form.hidden("once"), "reason": "why"}
    assert visitor.post(done.url, about).status == 404
