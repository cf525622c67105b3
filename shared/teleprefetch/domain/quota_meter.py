"""One node's use of one operation's quota: what it asks the ledger for, and what it may spend.

Steps are made by whoever talks to the ledger; in between tokens are spent from memory. All times
are of a clock that only goes forward, and windows are numbered by the server's.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from teleprefetch.domain.quota import (
    WINDOW_S,
    Quota,
    alone_limit,
    limit_of,
    others_demand,
    part_of,
    share_of,
    slowed_down,
    usable,
)
from teleprefetch.domain.quota_tokens import LeasedTokens
from teleprefetch.domain.quota_use import QuotaUse
from teleprefetch.quotas import Ask, Lease, QuotaState

_EMPTY: Final = QuotaState()
_NEARLY_ALL: Final = 0.7


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on the own clock and at the server, seconds."""

    own_s: float
    server_s: float

    @property
    def window(self) -> int:
        """The window by the server's clock."""
        return math.floor(self.server_s / WINDOW_S)

    def ends_s(self, window: int) -> float:
        """When a window ends, on the own clock."""
        return self.own_s + (window + 1) * WINDOW_S - self.server_s


@dataclass(slots=True)
class QuotaMeter:
    """Tokens of one operation at one node; used by one thread at a time.

    Args:
        quota: the data store's.
        readers_share: what readers have for themselves, from 0 to 1.
    """

    quota: Quota
    readers_share: float
    state: QuotaState = _EMPTY
    is_alone: bool = False
    _tokens: LeasedTokens = field(default_factory=LeasedTokens)
    _window: int = -1
    _held: int = 0
    _part: int = 0
    _used_all: bool = False
    _need: int = 0
    _need_before: int = 0
    _spent: int = 0
    _spent_before: int = 0
    _readers: int = 0
    _readers_now: int = 0
    _readers_slot: int = -2
    use: QuotaUse = field(default_factory=QuotaUse)

    def wait_s(self, now_s: float) -> float:
        """In how many seconds a token may be spent; infinite if more must be leased first."""
        return self._tokens.wait_s(now_s)

    def spend(self, now_s: float) -> bool:
        """Spend a token, if one may be spent."""
        is_spent = self._tokens.take(now_s)
        self._spent += is_spent
        return is_spent

    def read(self, now_s: float) -> bool:
        """Count a reader's request; whether there is now a whole window of them to tell."""
        slot = math.floor(now_s / WINDOW_S)
        if slot == self._readers_slot:
            self._readers_now += 1
            return False
        self._readers = self._readers_now if slot == self._readers_slot + 1 else 0
        self._readers_now, self._readers_slot = 1, slot
        return self._readers > 0

    @property
    def has_news(self) -> bool:
        """Whether there are readers' requests that the ledger was not told of."""
        return self._readers > 0

    def ask(self, moment: Moment, *, queued: int) -> Ask | None:
        """What to ask the ledger for; None if nothing.

        Args:
            moment: now.
            queued: how many fetches wait for this operation.
        """
        window = max(moment.window, min(self.state.window, moment.window + 1))
        is_first = window != self._window
        if is_first:
            self._used_all = self._need > 0 and self._spent >= _NEARLY_ALL * self._held
            self._spent_before, self._spent = self._spent, 0
            self._need_before = self._need if window == self._window + 1 else 0
            self._window, self._held, self._need = window, 0, 0
        limit = limit_of(self.quota, self.state, window=window, readers_share=self.readers_share)
        spent = max(self._spent, self._spent_before)
        need = min(queued, limit if self._used_all else usable(limit, spent_lately=spent))
        more = need - (0 if is_first else self._tokens.left(moment.own_s))
        if more <= 0 and not self._readers:
            return None
        others = others_demand(self.state, window=window, own_before=self._need_before)
        self._part = part_of(limit, need=need, others=others)
        tokens = share_of(
            limit,
            need=max(0, more),
            part=self._part,
            usable=usable(limit, spent_lately=self._spent),
            elapsed=self._elapsed(moment, window),
            held=self._held,
        )
        if window == self.state.window:
            tokens = max(0, min(tokens, limit - self.state.taken))
        if not tokens and not is_first and not self._readers:
            return None
        return Ask(window, tokens, limit, need=need if is_first else 0, readers=self._readers)

    def granted(self, ask: Ask, lease: Lease, moment: Moment) -> bool:
        """Take what the ledger answered; whether there are more tokens now."""
        self.is_alone = False
        self._readers -= ask.readers
        self._need += ask.need
        self.state = lease.state
        self.use.saw(lease.state.window, lease.state.taken + lease.state.readers)
        return self._have(lease.granted, ask.window, moment)

    def alone(self, ask: Ask, moment: Moment) -> bool:
        """Go on by a small share of one's own: the ledger did not answer."""
        self.is_alone = True
        tokens = max(0, min(ask.tokens, alone_limit(ask.limit) - self._held))
        self.use.saw(ask.window, self._held + tokens)
        return self._have(tokens, ask.window, moment)

    def slow_down_alone(self, window: int) -> None:
        """Learn from a 429 that could not be told to the others."""
        self.state = slowed_down(self.state, window)

    def look_again_s(self, moment: Moment) -> float:
        """In how many seconds there may be more to lease: half of the window, or the next one."""
        elapsed = self._elapsed(moment, moment.window)
        return WINDOW_S * ((0.5 if elapsed < 0.5 else 1.0) - elapsed)

    def _have(self, tokens: int, window: int, moment: Moment) -> bool:
        self._held += tokens
        self._tokens.add(
            tokens,
            window=window,
            now_s=moment.own_s,
            ends_s=moment.ends_s(window),
            per_second=self._part / WINDOW_S,
        )
        return tokens > 0

    @staticmethod
    def _elapsed(moment: Moment, window: int) -> float:
        return max(0.0, moment.server_s / WINDOW_S - window)
