"""What the console counts and draws, with figures made by hand."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from teleprefetch.console.gate_figures import by_day, by_location, gate_lines
from teleprefetch.console.plots import Column, columns
from teleprefetch.console.rendering import instant, span, state
from teleprefetch.console.under_way import MOST_SHOWN, under_way
from teleprefetch.run_records import Run, notice_run_id
from tests.builders import a_report, a_warmth
from tests.console.console_site import ConsoleSite

MONDAY = datetime(2026, 11, 16, 8, 0, tzinfo=UTC)


def a_notice(number: int, outcome: str, *, after_s: float, **changed: Any) -> Run:
    about = {
        "run_id": f"notice-{number}",
        "kind": "notice",
        "outcome": outcome,
        "at": MONDAY,
        "ended_at": MONDAY + timedelta(seconds=after_s),
        "reading_location": "home",
    }
    return Run.parse(about | changed)


def test_the_gates_figures_agree_with_a_week_made_by_hand() -> None:
    tuesday = MONDAY + timedelta(days=1)
    notices = [
        *(a_notice(n, "warm", after_s=10 * n) for n in range(1, 9)),
        a_notice(9, "cold", after_s=300, warm_at=MONDAY + timedelta(seconds=400)),
        a_notice(10, "partial", after_s=300),
        a_notice(11, "waiting", after_s=0),
        a_notice(12, "cold", after_s=300, at=tuesday, reading_location="coast"),
    ]

    monday, later = gate_lines(notices, by_day)

    assert (monday.group, monday.notices, monday.warm, monday.share) == ("2026-11-16", 10, 8, 0.8)
    # nine were warm at all: after 10, 20, ... 80 and 400 s
    assert (monday.median_s, monday.p90_s) == (50, 400)
    assert (later.notices, later.warm, later.share, later.median_s) == (1, 0, 0, None)
    assert [line.group for line in gate_lines(notices, by_location)] == ["coast", "home"]
    assert gate_lines([], by_day) == ()


def test_a_column_is_as_high_as_its_value() -> None:
    told = [Column(label=str(value), value=value) for value in (0.25, 0.5, 1.0)]
    svg = columns("shares", [*told, Column(label="none", value=None)], unit="%", top=1)

    heights = [float(one) for one in re.findall(r'class="column".*?height="([\d.]+)"', svg)]
    assert len(heights) == 3
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert heights[2] == pytest.approx(4 * heights[0], abs=0.2)
    assert "25%" in svg
    assert 'aria-label="shares; the table has the figures"' in svg


@given(
    st.lists(
        st.builds(
            Column,
            label=st.text(max_size=20),
            value=st.none() | st.floats(0, 1e15),
            mark=st.none() | st.floats(0, 1e15),
        ),
        max_size=80,
    )
)
def test_whatever_is_drawn_stays_within_the_picture_and_is_well_formed(told: list[Column]) -> None:
    svg = columns("x", told, unit="s")

    for name, most in (("x", 360), ("y", 190), ("height", 190), ("y1", 190)):
        for value in re.findall(rf'<(?:rect|line)[^>]* {name}="(-?[\d.]+)"', svg):
            assert -0.1 <= float(value) <= most
    assert svg.count("<svg") == svg.count("</svg>") == 1
    assert svg.count("<text") == svg.count("</text>")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.24, "4.2 s"), (59, "59 s"), (125, "2 min 5 s"), (-125, "2 min 5 s"),
     (3 * 3600 + 600, "3 h 10 min"), (50 * 3600, "2 d 2 h")],
)  # fmt: skip
def test_a_span_is_told_in_two_units(seconds: float, told: str) -> None:
    assert span(timedelta(seconds=seconds)) == told


def test_a_time_has_its_zone_and_a_state_a_sign() -> None:
    tokyo = datetime(2026, 11, 24, 21, 0, tzinfo=UTC).astimezone()
    assert re.sub("<[^>]*>", "", instant(tokyo)) == "2026-11-24 21:00:00Z"
    assert "✓" in state("warm")
    assert "✗" in state("failed")
    assert "&lt;b&gt;" in state("<b>")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield ConsoleSite()


def test_a_notice_and_its_prefetch_are_one_piece_of_work_and_the_furthest_node_counts(
    site: ConsoleSite,
) -> None:
    due = MONDAY + timedelta(minutes=5)
    site.record("assigned-1", outcome="warming", at=MONDAY, study_instance_uid="1.2.3")
    site.record(
        notice_run_id("a-1"), kind="notice", outcome="waiting", of="assigned-1", at=MONDAY,
        assignment_id="a-1", study_instance_uid="1.2.3", deadline_at=due,
    )  # fmt: skip
    site.record("p-2", outcome="warming", at=MONDAY, study_instance_uid="1.2.4")
    for node, verified in (("node-a", 3), ("node-b", 7)):
        warmth = a_warmth("1.2.3", verified, 10)
        site.progress.report(a_report(warmth, prefetch_id="assigned-1", node=node))

    told = under_way(site.as_site, now=MONDAY + timedelta(minutes=1))

    first, second = told.work
    assert (first.prefetch_id, first.left) == ("assigned-1", timedelta(minutes=4))
    assert (first.frames_proven, first.frames_planned) == (7, 10)
    assert (second.prefetch_id, second.left, second.frames_planned) == ("p-2", None, 0)
    assert (told.waiting, told.overdue, told.is_more) == (1, 0, False)
    assert under_way(site.as_site, now=due + timedelta(seconds=1)).overdue == 1


def test_more_than_is_shown_is_told(site: ConsoleSite) -> None:
    for number in range(MOST_SHOWN + 5):
        site.record(f"p-{number}", outcome="warming", at=MONDAY, study_instance_uid="1.2.3")
    told = under_way(site.as_site, now=MONDAY)
    assert len(told.work) == MOST_SHOWN
    assert told.is_more


def test_what_ended_badly_is_of_a_day_the_newest_first(site: ConsoleSite) -> None:
    for name, kind, outcome, hours in (
        ("old", "prefetch", "failed", 25), ("one", "prefetch", "failed", 3),
        ("two", "import", "failed", 2), ("three", "prefetch", "cold", 1),
        ("well", "prefetch", "warm", 1),
    ):  # fmt: skip
        site.record(name, kind=kind, outcome=outcome, at=MONDAY - timedelta(hours=hours))
    told = under_way(site.as_site, now=MONDAY)
    assert [run.run_id for run in told.failed] == ["three", "two", "one"]


def test_what_was_replayed_since_says_how_that_ended(site: ConsoleSite) -> None:
    for name, outcome in (("p-1", "failed"), ("p-1-r1", "cold"), ("p-1-r2", "warm")):
        site.record(name, outcome=outcome, at=MONDAY)
    site.record("p-2", outcome="partial", at=MONDAY)
    told = under_way(site.as_site, now=MONDAY)
    assert {run.run_id for run in told.failed} == {"p-1", "p-1-r1", "p-2"}
    assert told.replayed == {"p-1": "warm", "p-1-r1": "warm"}
