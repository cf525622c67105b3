"""How reads of metadata and frames are tried again: the one policy of both origins.

Delays are drawn at random from the whole range (full jitter), which doubles up to a limit: callers
that failed together do not come back together (AWS Architecture Blog, "Exponential Backoff And
Jitter"). This waits for seconds; the state machines, which wait for minutes, retry searches.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from teleprefetch.errors import CorruptPayloadError, OriginThrottledError, OriginUnavailableError

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Throttled or unavailable: again, up to `attempts`; a corrupt answer: once more.

    The last error is raised as it is. `give_up_after_s` bounds the time until the last attempt
    begins, and `sleep` is what waits.
    """

    attempts: int = 6
    first_delay_s: float = 0.2
    longest_delay_s: float = 8.0
    give_up_after_s: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def call(self, read: Callable[[], Answer]) -> Answer:
        """What `read` answers in the end."""
        if self.attempts == 1:
            return read()  # a node's every frame: nothing is made for nothing
        retrying = Retrying(
            sleep=self.sleep,
            wait=wait_random_exponential(multiplier=self.first_delay_s, max=self.longest_delay_s),
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.give_up_after_s),
            retry=_WorthAnotherTry(),
            reraise=True,
        )
        return retrying(read)


NO_RETRIES = RetryPolicy(attempts=1)


class _WorthAnotherTry:
    """Decides for one call; it remembers whether a corrupt answer was already fetched again."""

    def __init__(self) -> None:
        self._was_corrupt = False

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, CorruptPayloadError) and not self._was_corrupt:
            self._was_corrupt = True
            return True
        return isinstance(error, (OriginThrottledError, OriginUnavailableError))
