"""What was asked and how it was answered, for tests and benchmarks."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One answered request; `at_s` is monotonic time."""

    operation: str
    status: int
    at_s: float


class RequestLog:
    """The last requests one by one, and counts of all of them; safe to use from many threads."""

    LIMIT: Final = 100_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=self.LIMIT)
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, operation: str, status: int) -> None:
        """Note one answer."""
        entry = LoggedRequest(operation, status, time.monotonic())
        with self._lock:
            self._entries.append(entry)
            self._counts[operation, status] += 1

    def entries(self) -> tuple[LoggedRequest, ...]:
        """The last requests, oldest first, at most `LIMIT`."""
        with self._lock:
            return tuple(self._entries)

    def count(self, operation: str, status: int | None = None) -> int:
        """How often an operation was asked for, or answered with that status."""
        with self._lock:
            return sum(
                number
                for (name, answered), number in self._counts.items()
                if name == operation and status in (None, answered)
            )

    def counts(self) -> dict[tuple[str, int], int]:
        """How often each operation was answered with each status."""
        with self._lock:
            return dict(self._counts)

    def clear(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._entries.clear()
            self._counts.clear()
