"""Counts refusals of those who have no valid token, so that nobody fills the audit with them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord

_MOST_ADDRESSES: Final = 10_000
_OTHERS: Final = ""


@dataclass(slots=True)
class _Window:
    ends_s: float
    refused: int = 0
    folded: int = 0


class Turnstile:
    """The first refusals of an address are recorded one by one, the others of a window as one.

    Beyond many addresses at once, those that are new are counted together.

    Args:
        at_most: how many of an address are recorded one by one in a window.
        window_s: how long a window is.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        *,
        at_most: int = 60,
        window_s: float = 60.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_most = at_most
        self._window_s = window_s
        self._timer = timer
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def is_over(self, address: str) -> int:
        """Count a refusal: 0 if it is one to record, else in how many seconds the window ends."""
        now_s = self._timer()
        with self._lock:
            if address not in self._windows and len(self._windows) >= _MOST_ADDRESSES:
                address = _OTHERS
            window = self._windows.get(address)
            if window is None:
                window = self._windows[address] = _Window(now_s + self._window_s)
            window.refused += 1
            if window.refused <= self._at_most:
                return 0
            window.folded += 1
            return max(1, int(window.ends_s - now_s + 0.999))

    def ended(self, *, all_of_them: bool = False) -> list[AuditRecord]:
        """A record for each window that is over and in which refusals were only counted."""
        now_s = self._timer()
        with self._lock:
            over = [
                (address, window)
                for address, window in self._windows.items()
                if all_of_them or window.ends_s <= now_s
            ]
            for address, _ in over:
                del self._windows[address]
        return [_record(address, window) for address, window in over if window.folded]


def _record(address: str, window: _Window) -> AuditRecord:
    return AuditRecord(
        kind="refused",
        client=address,
        status=429,
        reason="too many requests without a valid token",
        detail={"count": window.folded},
    )
