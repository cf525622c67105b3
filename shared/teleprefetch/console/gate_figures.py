"""How notices went, from their run records: how many were warm in time, and how fast it was."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from teleprefetch.run_records import Run

_RELEASED = frozenset({"warm", "partial", "cold"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """The notices of one group; times are from `Study Assigned` to proven warm, in seconds.

    `warm` of `notices` were proven warm before their notice went out. `median_s` and `p90_s` also
    count those that `Study Warm` followed; None if none ever was warm.
    """

    group: str
    notices: int
    warm: int
    median_s: float | None
    p90_s: float | None

    @property
    def share(self) -> float:
        """The share that was warm before its notice."""
        return self.warm / self.notices


def by_day(run: Run) -> str:
    """The day of its assignment, UTC."""
    return run.at.date().isoformat()


def by_location(run: Run) -> str:
    """Where it is read."""
    return run.reading_location or "unknown"


def gate_lines(notices: Iterable[Run], group_of: Callable[[Run], str]) -> tuple[GateLine, ...]:
    """One line for each group, by its name; notices that still wait are left out."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in notices:
        if run.outcome in _RELEASED:
            groups[group_of(run)].append(run)
    return tuple(_line(name, groups[name]) for name in sorted(groups))


def _line(name: str, runs: Sequence[Run]) -> GateLine:
    times = sorted(
        (at - run.at).total_seconds() for run in runs if (at := _warm_at(run)) is not None
    )
    return GateLine(
        group=name,
        notices=len(runs),
        warm=sum(run.outcome == "warm" for run in runs),
        median_s=_quantile(times, 0.5),
        p90_s=_quantile(times, 0.9),
    )


def _warm_at(run: Run) -> datetime | None:
    """When it was proven warm: a notice that says so goes out at that instant."""
    return run.ended_at if run.outcome == "warm" else run.warm_at


def _quantile(times: Sequence[float], share: float) -> float | None:
    """The least time within which that share of all came (nearest rank)."""
    return times[max(0, math.ceil(share * len(times)) - 1)] if times else None
