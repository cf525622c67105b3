"""How a data store's request quotas are shared, among warming nodes and with readers.

Time is cut into windows of two seconds. All nodes of a data store keep one state for each operation
(`ports.QuotaLedger`), and lease tokens of the window from it: a fixed-window counter with
conditional writes, whose leases end by themselves, as the lease table of the Kinesis Client Library
does for shards. Nobody may lease beyond the window's limit, whatever dies or comes late.

    limit = rate x window x (1 - what readers have) x what was learned from 429s

Source: HealthImaging developer guide, "Throttling limits": tokens a second, and a burst of twice
as many for the operations here. Two windows' tokens are less than burst and refill together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from teleprefetch.domain.scheduling import Operation
from teleprefetch.quotas import Ask, QuotaState

WINDOW_S: Final = 2.0
_LEARNED_AT_LEAST: Final = 0.02
_SLOWER_BY: Final = 0.7
_RECOVERED_IN_WINDOWS: Final = 60
_AT_FIRST_TOKENS: Final = 2
_AT_FIRST_PART: Final = 25
_ALONE_SHARE: Final = 0.1
_HALF: Final = 0.5
_FOR_KNOWN: Final = 0.9


@dataclass(frozen=True, slots=True)
class Quota:
    """Requests a second in the long run, and how many may come at once."""

    per_second: float
    burst: int


HEALTHIMAGING_QUOTAS: Final[Mapping[str, Quota]] = MappingProxyType(
    {
        "GetImageFrame": Quota(1000, 2000),
        "GetImageSetMetadata": Quota(50, 100),
        "GetDICOMSeriesMetadata": Quota(50, 100),
    }
)
"""An account's defaults for what a node calls ("Throttling limits")."""
_CALLS: Final[Mapping[Operation, tuple[str, ...]]] = MappingProxyType(
    {
        Operation.METADATA: ("GetImageSetMetadata", "GetDICOMSeriesMetadata"),
        Operation.FRAME: ("GetImageFrame",),
    }
)


def by_operation(quotas: Mapping[str, Quota]) -> dict[Operation, Quota]:
    """The quota of each operation of a node: that of the scarcest call it makes.

    A series' metadata are two calls, one after the other: tokens of both are one token, or nodes
    would hold tokens of the one while the other's are out.
    """
    return {
        operation: min((quotas[call] for call in calls), key=lambda quota: quota.per_second)
        for operation, calls in _CALLS.items()
    }


def leased(state: QuotaState, ask: Ask) -> tuple[QuotaState, int]:
    """The state after an ask, and how many tokens it granted.

    A window that is over grants nothing: the state only goes forward.
    """
    if ask.window < state.window:
        return state, 0
    if ask.window > state.window:
        state = replace(
            state,
            window=ask.window,
            taken=0,
            demand=0,
            readers=0,
            demand_before=state.demand,
            readers_before=state.readers,
        )
    granted = max(0, min(ask.tokens, ask.limit - state.taken))
    state = replace(
        state,
        taken=state.taken + granted,
        demand=state.demand + ask.need,
        readers=state.readers + ask.readers,
    )
    return state, granted


def slowed_down(state: QuotaState, window: int) -> QuotaState:
    """The state after a 429: a part less for all; once in a window at most, as 429s come in flocks.

    It comes back by itself, evenly over two minutes, without anybody having to write that down.
    """
    if window <= state.learned_window:
        return state
    learned = max(_LEARNED_AT_LEAST, learned_share(state, window) * _SLOWER_BY)
    return replace(state, learned=learned, learned_window=window)


def learned_share(state: QuotaState, window: int) -> float:
    """The part of the quota that may be used in a window, from 0.02 to 1."""
    gone = max(0, window - state.learned_window)
    return min(1.0, state.learned + gone / _RECOVERED_IN_WINDOWS)


def limit_of(quota: Quota, state: QuotaState, *, window: int, readers_share: float) -> int:
    """How many tokens warming has in a window, over all nodes; never none, or nothing was learned.

    Args:
        quota: the data store's.
        state: what is known.
        window: which one.
        readers_share: what readers have for themselves, from 0 to 1; where they used more in the
            window before, warming has that much less.
    """
    whole = quota.per_second * WINDOW_S
    readers = state.readers_before if window == state.window else state.readers
    for_readers = max(readers_share * whole, float(readers))
    return max(1, math.floor(max(0.0, whole - for_readers) * learned_share(state, window)))


def alone_limit(limit: int) -> int:
    """What a node allows itself in a window while the ledger cannot be asked."""
    return max(1, math.floor(limit * _ALONE_SHARE))


def usable(limit: int, *, spent_lately: int) -> int:
    """How many tokens a node can be thought to use: twice what it used lately, and a few more."""
    return max(_AT_FIRST_TOKENS, limit // _AT_FIRST_PART) + 2 * spent_lately


def others_demand(state: QuotaState, *, window: int, own_before: int) -> int:
    """How many tokens the other nodes need, as they last said; none, if that is long ago.

    Args:
        state: what is known.
        window: the present one.
        own_before: what this node itself said that it needs, in the window before.
    """
    if state.window == window:
        return max(0, state.demand_before - own_before)
    return max(0, state.demand - own_before) if state.window == window - 1 else 0


def part_of(limit: int, *, need: int, others: int) -> int:
    """A node's part of a window's tokens by what it and the others need; never none.

    Where there are others, a tenth is left for those that begin.
    """
    return max(1, math.floor(_FOR_KNOWN * limit * need / (need + others))) if others else limit


def share_of(limit: int, *, need: int, part: int, usable: int, elapsed: float, held: int) -> int:
    """How many more tokens of a window a node may ask for.

    In the first half of the window each has its part; later what is left is anybody's, as far as it
    can be used evenly in the time that is left, and no more at a time than the part: of a hundred
    busy nodes the one that came first took half of what was left.

    Args:
        limit: the window's tokens.
        need: how many more this node needs in it.
        part: the node's part.
        usable: how many the node can be thought to use.
        elapsed: the part of the window that is over, from 0 to 1.
        held: how many of the window's tokens the node has leased already.
    """
    if elapsed >= _HALF:
        return min(need, usable, part, math.ceil(limit * (1 - elapsed)))
    return max(0, min(need, part - held))
