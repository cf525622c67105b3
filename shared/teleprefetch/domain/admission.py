"""Which orders of a node are under way, which wait, and for which waiting is in vain.

A place goes to the most urgent order, of those to the archive that has the fewest under way, of
those to the order whose notice is due first. What would only get a place when its notice is out is
told so at once, and so is who stands last in a line that is full: a line that everybody leaves too
late is worse for all than a shorter one, and an urgent order must not wait to be seen.
"""

import math
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from teleprefetch.domain.scheduling import Urgency

_REMEMBERED: Final = 32
_ENOUGH: Final = 4
_USEFUL_S: Final = 30.0
_LOOK_S: Final = 0.5
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim:
    """An order's claim to a place.

    `due_s` is when its notice goes out, infinite if none does; `current_bytes` what its current
    study takes, about.
    """

    urgency: Urgency
    tenant: str
    due_s: float = math.inf
    current_bytes: int = 0


class Line(Generic[T]):
    """The orders that wait for a place, and those that have one; used by one thread at a time.

    Args:
        places: how many orders may be under way, beside STAT ones, which never wait.
        most_waiting: how many may wait.
    """

    def __init__(self, places: int, *, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._waiting: dict[T, Claim] = {}
        self._under_way: dict[T, Claim] = {}
        self._running: Counter[str] = Counter()
        self._free = places
        self._has_stat = False
        self._looked_s = -math.inf
        self._ended_s: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, order: T, claim: Claim) -> None:
        """Have an order wait."""
        self._waiting[order] = claim
        self._has_stat = self._has_stat or claim.urgency is Urgency.STAT

    def leave(self, order: T, now_s: float) -> None:
        """Give up a place, or waiting for one."""
        self._waiting.pop(order, None)
        claim = self._under_way.pop(order, None)
        if claim is None:
            return
        self._running[claim.tenant] -= 1
        if claim.urgency is not Urgency.STAT:
            self._free += 1
            self._ended_s.append(now_s)

    def admitted(self) -> list[T]:
        """The orders that get a place now, which wait no more."""
        if not self._free and not self._has_stat:
            return []
        found: list[T] = []
        for order in self._in_order():
            claim = self._waiting[order]
            is_stat = claim.urgency is Urgency.STAT
            if is_stat or self._free:
                del self._waiting[order]
                self._under_way[order] = claim
                self._running[claim.tenant] += 1
                self._free -= not is_stat
                found.append(order)
        self._has_stat = False
        return found

    def in_vain(self, now_s: float, rate_bytes_per_s: float | None) -> list[T]:
        """The orders for which waiting is in vain; they wait no more.

        They would get a place too late for their current study, or stand where the line is full.

        Args:
            now_s: on the clock of the claims.
            rate_bytes_per_s: how fast bytes come for all orders; None if that is not known.
        """
        if now_s - self._looked_s < _LOOK_S and self.waiting <= self._most_waiting:
            return []
        self._looked_s = now_s
        found: list[T] = []
        begins = self._begins(now_s)
        ahead = 0
        for order in self._in_order():
            claim = self._waiting[order]
            begins_s = begins[min(ahead, len(begins) - 1)] if begins else now_s
            needed_s = self._needed_s(claim, rate_bytes_per_s)
            if begins_s + needed_s > claim.due_s or ahead >= self._most_waiting:
                del self._waiting[order]
                found.append(order)
            else:
                ahead += 1
        return found

    def _needed_s(self, claim: Claim, rate_bytes_per_s: float | None) -> float:
        """How long a current study takes, or something useful of it, at its archive's part."""
        if not rate_bytes_per_s:
            return 0.0
        tenants = max(1, sum(number > 0 for number in self._running.values()))
        share = rate_bytes_per_s / tenants / max(1, self._running[claim.tenant])
        return min(_USEFUL_S, claim.current_bytes / share)

    def _begins(self, now_s: float) -> list[float]:
        """When the first who waits, the second, and so on gets a place.

        Places become free as fast as of late, and at the latest when notices are due: what cannot
        be in time any more gives its place to who waits.
        """
        claims = self._under_way.values()
        due_s = sorted(one.due_s for one in claims if one.urgency is not Urgency.STAT)
        per_s = self._places_per_s(now_s)
        if per_s is None:
            return []
        return [max(now_s, min(now_s + ahead / per_s, at_s)) for ahead, at_s in enumerate(due_s)]

    def _places_per_s(self, now_s: float) -> float | None:
        """How many places became free a second of late; None before that can be told."""
        if len(self._ended_s) < _ENOUGH:
            return None
        return len(self._ended_s) / max(now_s - self._ended_s[0], 0.001)

    def _in_order(self) -> list[T]:
        """Who waits, in the order of getting places: tenants in turn."""
        running = self._running.copy()
        by_claim = sorted(self._waiting.items(), key=lambda one: (one[1].urgency, one[1].due_s))
        turns: list[tuple[int, int, float, T]] = []
        for order, claim in by_claim:
            turns.append((claim.urgency, running[claim.tenant], claim.due_s, order))
            running[claim.tenant] += 1
        return [turn[3] for turn in sorted(turns, key=lambda turn: turn[:3])]
