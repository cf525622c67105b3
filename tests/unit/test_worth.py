"""The worth report agrees with figures made by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.warming_cost import Prices
from teleprefetch.domain.worth import NOT_WARMED, Worth, worth_of
from tests.audit_builders import a_record, an_entry

MONDAY = datetime(2026, 11, 16, 8, 0, tzinfo=UTC)


def warmed(study: str, *, at: datetime, frames: int, size_bytes: int, **detail: Any) -> Entry:
    record = a_record(
        kind="warmed",
        study=study,
        series=f"{study}.1",
        instance="",
        frames="",
        status=0,
        source="",
        size_bytes=0,
        detail={"rank": 0, "frames": frames, "bytes": size_bytes} | detail,
    )
    return _at(an_entry(record), at)


def served(
    study: str, *, at: datetime, frames: str, size_bytes: int, source: str = "hit", **other: Any
) -> Entry:
    record = a_record(
        study=study,
        series=f"{study}.1",
        instance=f"{study}.1.1",
        frames=frames,
        size_bytes=size_bytes,
        source=source,
        **other,
    )
    return _at(an_entry(record), at)


def _at(entry: Entry, at: datetime) -> Entry:
    return Entry(
        node=entry.node,
        lane=entry.lane,
        seq=entry.seq,
        at=at,
        prev=entry.prev,
        hash=entry.hash,
        event=entry.event,
        body=entry.body,
    )


@pytest.fixture
def week() -> list[Entry]:
    """A current study read whole, one prior read in half, one never opened, one that came late.

    On Wednesday a study that no order knew was read through and then read again.
    """
    day = timedelta(days=1)
    return [
        warmed("1.1", at=MONDAY, frames=10, size_bytes=1000, modality="CT"),
        warmed("1.2", at=MONDAY, frames=4, size_bytes=800, rank=1, modality="CT", rule="anatomy"),
        warmed("1.3", at=MONDAY, frames=5, size_bytes=500, rank=2, modality="MR"),
        served("1.1", at=MONDAY + day, frames="1-10", size_bytes=1000),
        served("1.1", at=MONDAY + day, frames="1-3", size_bytes=300),
        served("1.2", at=MONDAY + day, frames="1,3", size_bytes=400),
        served("1.4", at=MONDAY + day, frames="1-2", size_bytes=600, source="origin"),
        warmed("1.4", at=MONDAY + 1.5 * day, frames=2, size_bytes=600, rank=1, modality="MR"),
        served("1.9", at=MONDAY + 2 * day, frames="1-4", size_bytes=400, source="origin"),
        served("1.9", at=MONDAY + 2 * day, frames="1-4", size_bytes=400),
    ]


def test_the_whole_week_agrees_with_the_figures_made_by_hand(week: list[Entry]) -> None:
    every, unknown = worth_of(week)

    assert every == Worth(
        group="all",
        warmed_studies=4,
        warmed_frames=10 + 4 + 5 + 2,
        warmed_bytes=1000 + 800 + 500 + 600,
        opened_frames=10 + 2 + 0 + 2,
        opened_bytes=1000 + 400 + 0 + 600,
        hit_frames=10 + 3 + 2,
        hit_bytes=1000 + 300 + 400,
        origin_frames=2,
        origin_bytes=600,
        late_studies=1,
        metadata_reads=4,
        fetched_frames=10 + 4 + 5 + 2,
        fetched_bytes=1000 + 800 + 500 + 600,
        promoted_series=2,  # the prior that came late was the reader's own read
        promoted_bytes=2 * 5_000_000,
    )
    assert every.requests == 2 * 4 + 21 + 2
    assert every.moved_bytes == 2900 + 600
    assert every.hit_rate == 15 / 17
    assert every.hit_rate_bytes == 1700 / 2300
    assert every.waste_bytes == 400 + 500
    assert every.waste == 900 / 2900
    assert unknown.group == NOT_WARMED
    assert (unknown.hit_frames, unknown.origin_frames, unknown.warmed_frames) == (4, 4, 0)
    assert unknown.late_studies == 0


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("day", ["2026-11-16", "2026-11-17", NOT_WARMED]),
        ("rank", ["current", "prior 1", "prior 2", NOT_WARMED]),
        ("modality", ["CT", "MR", NOT_WARMED]),
        ("rule", ["anatomy", "current", "unknown", NOT_WARMED]),
        ("origin", ["store-1", NOT_WARMED]),
        ("location", ["node-a", NOT_WARMED]),
    ],
)
def test_the_groups_of_each_view_add_up_to_the_whole(
    week: list[Entry], by: Any, groups: list[str]
) -> None:
    [every, _] = worth_of(week)
    lines = worth_of(week, by=by)

    assert [line.group for line in lines] == groups
    for figure in (
        "warmed_bytes", "opened_bytes", "hit_frames", "origin_bytes", "late_studies", "requests",
        "moved_bytes", "promoted_bytes",
    ):  # fmt: skip
        assert sum(getattr(line, figure) for line in lines[:-1]) == getattr(every, figure)


def test_what_a_rank_is_worth_is_told_by_rank(week: list[Entry]) -> None:
    by_rank = {line.group: line for line in worth_of(week, by="rank")}

    assert by_rank["current"].waste == 0
    assert by_rank["prior 2"].waste == 1
    assert by_rank["prior 2"].hit_rate is None


def test_lanes_in_any_order_give_the_same_report(week: list[Entry]) -> None:
    assert worth_of(reversed(week)) == worth_of(week)


def test_refusals_searches_and_answers_without_bytes_are_no_reading(week: list[Entry]) -> None:
    at = MONDAY + timedelta(days=3)
    others = [
        served("1.3", at=at, frames="1-5", size_bytes=0, kind="refused", status=404),
        served("1.3", at=at, frames="1-5", size_bytes=0, status=304),
        served("1.3", at=at, frames="", size_bytes=9, action="metadata"),
    ]

    assert worth_of([*week, *others]) == worth_of(week)


def test_a_frame_opened_twice_is_opened_once_and_hit_twice() -> None:
    entries = [
        warmed("1.1", at=MONDAY, frames=2, size_bytes=200),
        served("1.1", at=MONDAY, frames="1", size_bytes=100),
        served("1.1", at=MONDAY, frames="1", size_bytes=100),
    ]

    [line] = worth_of(entries)

    assert (line.opened_frames, line.hit_frames, line.waste_bytes) == (1, 2, 100)


def test_the_wait_saved_is_a_round_trip_a_frame_and_the_bytes_over_the_bandwidth() -> None:
    entries = [
        warmed("1.1", at=MONDAY, frames=2, size_bytes=2_000_000),
        served("1.1", at=MONDAY, frames="1-2", size_bytes=2_000_000),
    ]

    [line] = worth_of(entries)

    assert line.wait_saved_s(round_trip_s=0.1, bandwidth_bps=16e6) == pytest.approx(0.2 + 1.0)


def test_an_empty_audit_has_no_lines() -> None:
    assert worth_of([]) == ()


GB = 2**30


def fetched(study: str, *, at: datetime, rank: int = 1, frames: int = 100, gb: float = 1) -> Entry:
    size = int(gb * GB)
    told = {"metadata_reads": 1, "fetched_frames": frames, "fetched_bytes": size}
    return warmed(study, at=at, frames=100, size_bytes=GB, rank=rank, **told)


def test_the_cost_of_a_week_agrees_with_figures_made_by_hand() -> None:
    entries = [
        fetched("1.1", at=MONDAY, rank=0),
        fetched("1.2", at=MONDAY),
        fetched("1.3", at=MONDAY, frames=40, gb=0.4),
        served("1.4", at=MONDAY, frames="1-500", size_bytes=GB // 2, source="origin"),
    ]
    prices = Prices(per_1000_calls=5, per_gb_moved=0.09)

    every, unknown = worth_of(entries)
    cost = every.cost(prices)

    assert every.requests == 3 * 2 + 100 + 100 + 40
    assert cost.requests_usd == pytest.approx(246 * 0.005)
    assert cost.moved_usd == pytest.approx(2.4 * 0.09)
    assert (every.promoted_series, every.promoted_bytes) == (2, 2 * GB)
    assert cost.promotions_usd == pytest.approx(2 * (0.105 - 0.006))
    assert cost.usd == pytest.approx(1.23 + 0.216 + 0.198)
    # what no order had brought costs readers' own requests
    assert unknown.cost(prices) == pytest.approx((500 * 0.005, 0.5 * 0.09, 0))


def test_what_is_held_already_costs_nothing() -> None:
    nothing = {"metadata_reads": 0, "fetched_frames": 0, "fetched_bytes": 0}
    entries = [
        fetched("1.2", at=MONDAY),
        warmed("1.2", at=MONDAY + timedelta(days=60), frames=100, size_bytes=GB, rank=1, **nothing),
    ]

    [line] = worth_of(entries)

    assert (line.requests, line.moved_bytes, line.promoted_series) == (102, GB, 1)


@pytest.mark.parametrize(("days", "promotions"), [(29, 1), (30, 2), (400, 2)])
def test_a_prior_is_promoted_again_once_it_may_have_been_archived_again(
    days: int, promotions: int
) -> None:
    entries = [fetched("1.2", at=MONDAY), fetched("1.2", at=MONDAY + timedelta(days=days))]

    [line] = worth_of(entries)

    assert line.promoted_series == promotions
    assert line.promoted_bytes == promotions * GB
    assert line.requests == 2 * 102


def test_the_current_study_is_never_promoted() -> None:
    [line] = worth_of([fetched("1.1", at=MONDAY, rank=0)])

    assert (line.promoted_series, line.promoted_bytes) == (0, 0)
