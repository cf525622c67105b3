"""What the orders of a node know of each other: how many there are, and how fast bytes come."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from teleprefetch.domain.lateness import Rate


class Traffic:
    """Shared by the threads of all orders.

    Args:
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._rate = Rate()
        self._under_way = 0

    @contextmanager
    def order(self) -> Iterator[None]:
        """An order is under way."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def came(self, received_bytes: int) -> None:
        """Count bytes that came over the wire."""
        with self._lock:
            self._rate.note(received_bytes, self._monotonic_s())

    def bytes_per_s(self) -> float | None:
        """The rate of late, over all orders; None before it is known."""
        with self._lock:
            return self._rate.bytes_per_s()

    def share_bytes_per_s(self, waiting: int) -> float | None:
        """An order's share of the rate of late, with those that wait; None before it is known."""
        with self._lock:
            rate = self._rate.bytes_per_s()
            return None if rate is None else rate / max(1, self._under_way + waiting)
