"""Which series to give up first when room is short: the least useful, never the oldest as such.

A series is useful while it is waited for or read, and less with every hour after; a current study
more than its priors, and those by rank.
"""

import math
from dataclasses import dataclass
from typing import Final

from teleprefetch.edge.store.rows import PlannedUse, PlanRow

# A reading session's length: what nobody has touched for so long is worth half.
_HALF_LIFE_S: Final = 8 * 3600.0
# Somebody asked for it without a plan: worth as much as the first prior.
_UNPLANNED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the plans say of a series, taken together: its best place, and when it is wanted."""

    use: PlannedUse
    asked_at: float
    until: float

    def and_by(self, plan: PlanRow, use: PlannedUse) -> "Wanted":
        """The same with one more plan."""
        return Wanted(
            use=min(self.use, use, key=worth_order),
            asked_at=max(self.asked_at, plan.asked_at),
            until=max(self.until, plan.until),
        )


def worth_order(use: PlannedUse) -> tuple[bool, int]:
    """Sorts the uses of a series: the best first."""
    return (use.role != "current", use.rank)


def is_pinned(wanted: Wanted | None, *, last_read_s: float | None, now_s: float) -> bool:
    """Tell whether a series must stay: its order's deadline is to come, and nobody read it yet."""
    if wanted is None or now_s >= wanted.until:
        return False
    return last_read_s is None or last_read_s < wanted.asked_at


def usefulness(
    wanted: Wanted | None, *, last_read_s: float | None, stored_at_s: float, now_s: float
) -> float:
    """How useful it is to keep a series: from 1, for a current study that is waited for, to 0."""
    base, until_s = _UNPLANNED, stored_at_s
    if wanted is not None:
        base = 1.0 if wanted.use.role == "current" else 1 / (1 + max(1, wanted.use.rank))
        until_s = wanted.until
    idle_s = now_s - max(until_s, last_read_s or 0.0)
    return base * math.pow(0.5, max(0.0, idle_s) / _HALF_LIFE_S)
