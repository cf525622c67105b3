"""Places for the orders under way, handed out by `domain.admission` to the threads that wait."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from teleprefetch.domain.admission import Claim, Line
from teleprefetch.domain.scheduling import Urgency
from teleprefetch.model import Plan, WarmOrder

URGENCY: dict[str, Urgency] = {
    "stat": Urgency.STAT,
    "high": Urgency.HIGH,
    "routine": Urgency.ROUTINE,
}


def claim_of(order: WarmOrder, plan: Plan, *, now: datetime, now_s: float) -> Claim:
    """What an order claims; its notice, or else its own end, is what it should be in time for.

    Args:
        order: the order.
        plan: its plan.
        now: the time of day.
        now_s: the same moment on the slots' clock.
    """
    left = (order.due_at or order.give_up_at) - now
    return Claim(
        urgency=URGENCY[order.priority],
        tenant=plan.origin_id,
        due_s=now_s + left.total_seconds(),
        current_bytes=sum(one.estimated_bytes for one in plan.series if one.role == "current"),
    )


class Slots:
    """The places of one node.

    Args:
        number: how many there are beside those of STAT orders.
        most_waiting: how many orders may wait for one.
        monotonic_s: the clock of the claims, which only goes forward.
        rate_bytes_per_s: how fast bytes come for all orders; None if that is not known.
        is_stopping: whether nobody is to wait any longer.
    """

    def __init__(
        self,
        number: int,
        *,
        most_waiting: int,
        monotonic_s: Callable[[], float],
        rate_bytes_per_s: Callable[[], float | None] = lambda: None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._rate_bytes_per_s = rate_bytes_per_s
        self._is_stopping = is_stopping
        self._changed = threading.Condition()
        self._line: Line[object] = Line(number, most_waiting=most_waiting)
        self._admitted: set[object] = set()
        self._in_vain: set[object] = set()

    @property
    def waiting(self) -> int:
        """How many orders wait for a place."""
        return self._line.waiting

    @contextmanager
    def place(self, claim: Claim) -> Iterator[bool]:
        """A place as soon as it is the claim's turn; False if waiting for it is in vain."""
        order = object()
        with self._changed:
            self._line.add(order, claim)
            self._hand_out()
            self._changed.wait_for(lambda: self._is_decided(order))
            is_admitted = order not in self._in_vain
            self._in_vain.discard(order)
            self._admitted.discard(order)
        try:
            yield is_admitted
        finally:
            with self._changed:
                self._line.leave(order, self._monotonic_s())
                self._hand_out()

    def wake(self) -> None:
        """Have those who wait look whether the node stops."""
        with self._changed:
            self._changed.notify_all()

    def _is_decided(self, order: object) -> bool:
        return order in self._admitted or order in self._in_vain or self._is_stopping()

    def _hand_out(self) -> None:
        self._admitted.update(self._line.admitted())
        rate = self._rate_bytes_per_s()
        self._in_vain.update(self._line.in_vain(self._monotonic_s(), rate))
        self._changed.notify_all()
