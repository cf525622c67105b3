"""Asks an archive no more while it keeps failing, and tries again with one request at a time."""

import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from teleprefetch.errors import OriginThrottledError, OriginUnavailableError

_FAILURES: Final = 5
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_FAILING: Final = (OriginUnavailableError, OriginThrottledError)
T = TypeVar("T")


class Breaker:
    """Stands between readers and one archive; shared by threads.

    Closed, everything passes. After some failures in a row it is open for a pause, and everything
    is refused at once. Then one request is let through: it closes the breaker, or opens it
    for twice as long.

    Args:
        monotonic_s: seconds of a clock that only goes forward.
        on_open: called as it opens.
        jitter: a number from 0 to 1, so that nodes do not try again together.
    """

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float],
        on_open: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._on_open = on_open
        self._jitter = jitter
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = 0.0
        self._open_until_s: float | None = None
        self._is_probing = False
        self._last: type[OriginUnavailableError | OriginThrottledError] = OriginUnavailableError

    def call(self, ask: Callable[[], T]) -> T:
        """What `ask` answers.

        Raises:
            OriginUnavailableError: the breaker is open, and the archive failed last.
            OriginThrottledError: the breaker is open, and the archive throttled last.
        """
        self._enter()
        try:
            answer = ask()
        except _FAILING as error:
            self._failed(type(error))
            raise
        except BaseException:
            self._succeeded()  # it answered, though not with what was asked for
            raise
        self._succeeded()
        return answer

    @property
    def retry_after_s(self) -> float:
        """In how many seconds a request may pass again; 0 if one may now."""
        with self._lock:
            if self._open_until_s is None:
                return 0.0
            return max(0.0, self._open_until_s - self._monotonic_s())

    def _enter(self) -> None:
        with self._lock:
            if self._open_until_s is None:
                return
            if self._monotonic_s() < self._open_until_s or self._is_probing:
                raise self._last("archive: not asked, since it keeps failing")
            self._is_probing = True

    def _failed(self, error: type[OriginUnavailableError | OriginThrottledError]) -> None:
        with self._lock:
            self._last = error
            self._failures += 1
            was_probing, self._is_probing = self._is_probing, False
            if not was_probing and self._failures < _FAILURES:
                return
            if self._open_until_s is not None and not was_probing:
                return  # asked before it opened
            self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
            pause_s = self._pause_s * (0.5 + self._jitter() / 2)
            self._open_until_s = self._monotonic_s() + pause_s
        self._on_open()

    def _succeeded(self) -> None:
        with self._lock:
            self._failures, self._pause_s = 0, 0.0
            self._open_until_s, self._is_probing = None, False
