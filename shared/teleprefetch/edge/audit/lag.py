"""For how long a lane has had records of which no checkpoint tells that is kept elsewhere."""

import time
from collections.abc import Callable


class Lag:
    """Counts from the moment that it is first seen, or that a checkpoint was last kept.

    Args:
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._since_s: float | None = None
        self._kept = -1

    def seconds(self, *, is_behind: bool, kept: int) -> float:
        """The seconds so far; 0 if nothing is behind.

        Args:
            is_behind: whether there are such records.
            kept: the number of the newest checkpoint elsewhere.
        """
        now_s = self._monotonic_s()
        if not is_behind or self._since_s is None or kept != self._kept:
            self._since_s, self._kept = now_s if is_behind else None, kept
        return 0.0 if self._since_s is None else now_s - self._since_s
