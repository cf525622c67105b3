"""The values that nodes and the ledger of their shared quotas exchange."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What all nodes know of one operation.

    `taken` tokens of the current window are leased, its nodes have said that they need `demand`,
    and `readers` counts readers' requests in it; `..._before` are those of the window before.
    `learned` is the part of the quota that did not lead to 429s, as of `learned_window`.
    """

    window: int = -1
    taken: int = 0
    demand: int = 0
    demand_before: int = 0
    readers: int = 0
    readers_before: int = 0
    learned: float = 1.0
    learned_window: int = -1


@dataclass(frozen=True, slots=True)
class Ask:
    """What a node asks of the ledger: `tokens` of a window that has `limit`.

    `need` and `readers` are what it says for the first time: others share by them.
    """

    window: int
    tokens: int
    limit: int
    need: int = 0
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """What the ledger answered: tokens, the state as it is now, and the server's date.

    `date_s` are seconds since the epoch in whole seconds, None where the ledger has no clock.
    """

    granted: int
    state: QuotaState
    date_s: float | None
