"""The page `Worth`: what prefetching was worth, from run records and from nodes' audits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from markupsafe import Markup
from starlette.responses import Response

from teleprefetch.console.asking import Asked
from teleprefetch.console.gate_figures import GateLine, by_day, by_location, gate_lines
from teleprefetch.console.plots import Column, columns
from teleprefetch.console.rendering import percent
from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.times import time_of
from teleprefetch.domain.warming_cost import Prices, dollars
from teleprefetch.domain.worth import Worth, worth_of
from teleprefetch.edge.audit import reading
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.run_records import RunFilter

By = Literal["day", "location", "rank", "rule", "modality"]
MOST_NOTICES: Final = 5_000
_BYS: Final[tuple[By, ...]] = get_args(By)
_MB: Final = 1_000_000
_DAYS: Final = {"day": " A study counts on the day it was warmed."}
_KNOWN_OF_NOTICES: Final = frozenset({"day", "location"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot and its table: heads, and a row for each group; `told` says what is measured."""

    id: str
    title: str
    told: str
    svg: Markup
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(asked: Asked) -> Response:
    """The plots, each with its table."""
    by, since_text = asked.query("by") or "day", asked.query("since") or "7d"
    if by not in _BYS:
        raise InvalidPayloadError(f"by: one of {', '.join(_BYS)}")
    console = asked.console
    since = time_of(since_text, now=console.now(), option="since")
    notices = console.site.runs.find(RunFilter(kind="notice", since=since), limit=MOST_NOTICES)
    # the records of a notice do not know of ranks, rules and modalities
    gate = gate_lines(notices, by_location if by == "location" else by_day)
    lines: tuple[Worth, ...] = ()
    if console.audits:
        folders = console.audits_for(asked.session.by, asked="console: worth")
        lines = worth_of(_entries(folders, since), by=by)
    warmed = tuple(one for one in lines if one.warmed_frames)
    gate_by = "location" if by == "location" else "day"
    return asked.page(
        "worth.html",
        by=by,
        bys=_BYS,
        since=since_text,
        since_at=since,
        plots=(
            *_gate_plots(gate, gate_by),
            *_hit_plot(lines, by),
            *_waste_plot(warmed, by),
            *_cost_plot(lines, by, console.prices),
        ),
        late=_late(warmed),
        has_audit=bool(console.audits),
        is_cut=len(notices) == MOST_NOTICES,
        most=MOST_NOTICES,
        are_notices_by_day=by not in _KNOWN_OF_NOTICES,
    )


def _entries(folders: Sequence[Any], since: datetime) -> Iterator[Entry]:
    for folder in folders:
        yield from (entry for entry in reading.entries(folder) if entry.at >= since)


def _gate_plots(lines: tuple[GateLine, ...], by: str) -> Iterator[Plot]:
    if not lines:
        return
    title = f"Warm before the notice, by {by}"
    yield Plot(
        id="in-time",
        title=title,
        told="The share of notices that went out with everything required proven warm.",
        svg=columns(
            title, [Column(label=one.group, value=one.share) for one in lines], unit="%", top=1
        ),
        heads=(by, "notices", "warm", "share"),
        rows=tuple(
            (one.group, str(one.notices), str(one.warm), percent(one.share)) for one in lines
        ),
    )
    title = f"Time from Study Assigned to warm, by {by}"
    yield Plot(
        id="time-to-warm",
        title=title,
        told="Columns are medians; the line over each is what nine of ten stay under.",
        svg=columns(
            title,
            [Column(label=one.group, value=one.median_s, mark=one.p90_s) for one in lines],
            unit="s",
        ),
        heads=(by, "median", "9 of 10 within"),
        rows=tuple((one.group, _seconds(one.median_s), _seconds(one.p90_s)) for one in lines),
    )


def _hit_plot(lines: tuple[Worth, ...], by: str) -> Iterator[Plot]:
    """Also of what no order had brought, which readers were sent all the same."""
    if not lines:
        return
    title = f"Hit rate, by {by}"
    yield Plot(
        id="hit-rate",
        title=title,
        told="The share of frames sent to readers that came from the store; “not warmed” is what no"
        " order had brought." + _DAYS.get(by, ""),
        svg=columns(
            title, [Column(label=one.group, value=one.hit_rate) for one in lines], unit="%", top=1
        ),
        heads=(by, "frames sent", "from the store", "hit rate"),
        rows=tuple(
            (
                one.group,
                f"{one.hit_frames + one.origin_frames:,}",
                f"{one.hit_frames:,}",
                percent(one.hit_rate),
            )
            for one in lines
        ),
    )


def _waste_plot(lines: tuple[Worth, ...], by: str) -> Iterator[Plot]:
    if not lines:
        return
    title = f"Wasted bytes, by {by}"
    yield Plot(
        id="waste",
        title=title,
        told="Warmed, and opened by nobody." + _DAYS.get(by, ""),
        svg=columns(
            title,
            [Column(label=one.group, value=one.waste_bytes / _MB) for one in lines],
            unit="MB",
        ),
        heads=(by, "MB warmed", "MB wasted", "waste"),
        rows=tuple(
            (
                one.group,
                f"{one.warmed_bytes / _MB:,.1f}",
                f"{one.waste_bytes / _MB:,.1f}",
                percent(one.waste),
            )
            for one in lines
        ),
    )


def _cost_plot(lines: tuple[Worth, ...], by: str, prices: Prices) -> Iterator[Plot]:
    """What the archive asked; also for what no order had brought."""
    if not lines:
        return
    title = f"Cost at the archive in US$, by {by}"
    costs = [(one, one.cost(prices)) for one in lines]
    yield Plot(
        id="cost",
        title=title,
        told="For calls, bytes on the way, and priors that reading may have brought out of the"
        f" cheaper tier, at most.{_DAYS.get(by, '')} Prices: {prices.source}, as of"
        f" {prices.read_on}.",
        svg=columns(
            title, [Column(label=one.group, value=cost.usd) for one, cost in costs], unit=""
        ),
        heads=(by, "requests", "MB moved", "promoted", "US$"),
        rows=tuple(
            (
                one.group,
                f"{one.requests:,}",
                f"{one.moved_bytes / _MB:,.1f}",
                f"{one.promoted_series:,}",
                dollars(cost.usd),
            )
            for one, cost in costs
        ),
    )


def _late(lines: tuple[Worth, ...]) -> tuple[tuple[str, str, str], ...]:
    """By group: studies warmed, and those that were listed but a reader waited for all the same."""
    return tuple((one.group, f"{one.warmed_studies:,}", f"{one.late_studies:,}") for one in lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} s"
