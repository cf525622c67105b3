"""The tokens that a node has leased, spent evenly within their window."""

import math
from dataclasses import dataclass
from typing import Final

_AHEAD_SHARE: Final = 0.1


@dataclass(slots=True)
class LeasedTokens:
    """Tokens of one window on a clock that only goes forward; what is not used by its end is gone.

    They are spent at the node's part of the rate, or faster if else they would be gone. A tenth of
    them may be spent ahead of time, and one always.
    """

    window: int = -1
    total: int = 0
    spent: int = 0
    began_s: float = 0.0
    ends_s: float = 0.0
    per_second: float = 0.0

    def add(
        self, tokens: int, *, window: int, now_s: float, ends_s: float, per_second: float
    ) -> None:
        """Have more tokens; those of another window are gone.

        Args:
            tokens: how many more.
            window: of which window.
            now_s: the time.
            ends_s: when the window ends.
            per_second: the node's part of the rate.
        """
        left = self.left(now_s) if window == self.window else 0
        self.window, self.total, self.spent = window, left + tokens, 0
        self.began_s, self.ends_s = now_s, ends_s
        self.per_second = max(per_second, self.total / max(ends_s - now_s, 0.001))

    def left(self, now_s: float) -> int:
        """How many are there, now or later in the window."""
        return self.total - self.spent if now_s < self.ends_s else 0

    def wait_s(self, now_s: float) -> float:
        """In how many seconds one may be spent, 0 if now; never, if none is left."""
        if not self.left(now_s):
            return math.inf
        ahead = 1 + _AHEAD_SHARE * self.total
        return max(0.0, self.began_s + (self.spent + 1 - ahead) / self.per_second - now_s)

    def take(self, now_s: float) -> bool:
        """Spend one, if one may be spent now."""
        if self.wait_s(now_s) > 0:
            return False
        self.spent += 1
        return True
