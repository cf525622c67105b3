"""A queue in which flows take turns by what they were charged: start-time fair queueing.

A flow is a patient's or a tenant's work. Its account says at which virtual byte its next piece
starts; who is behind goes first. A flow that was idle begins at the present, so that it cannot
save up turns - except where the fewest bytes of all go first, which lets a newcomer's few pieces
pass somebody else's many. Source: P. Goyal, H. Vin, H. Cheng, "Start-time fair queueing", 1996.
"""

import heapq
import math
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_MOST_IDLE: Final = 4096
Key = tuple[float, float, int]
T = TypeVar("T")


@dataclass(slots=True)
class Account:
    """What a flow was charged so far, as the virtual byte at which its next piece starts."""

    start: float = 0.0
    queued: int = 0


class Accounts:
    """The accounts of flows that share something.

    Args:
        fewest_first: what a flow had is never forgiven while it is known.
    """

    def __init__(self, *, fewest_first: bool = False) -> None:
        self.fewest_first = fewest_first
        self._virtual = 0.0
        self._accounts: dict[str, Account] = {}
        self._most = _MOST_IDLE

    def of(self, flow: str) -> Account:
        """The flow's account, up to date if the flow was idle."""
        account = self._accounts.setdefault(flow, Account())
        if not account.queued and not self.fewest_first:
            account.start = max(account.start, self._virtual)
        return account

    def charge(self, account: Account, cost_bytes: int) -> None:
        """Count a piece that is begun now."""
        self._virtual = max(self._virtual, account.start)
        account.start += cost_bytes

    def forget_idle(self) -> None:
        """Keep memory bounded: beyond some thousand flows those with nothing queued begin anew."""
        if len(self._accounts) > self._most:
            self._accounts = {flow: one for flow, one in self._accounts.items() if one.queued}
            self._most = max(_MOST_IDLE, 2 * len(self._accounts))


@dataclass(slots=True)
class Entry(Generic[T]):
    """A queued job; `is_gone` once it was taken, moved or given up."""

    job: T
    slot: float
    position: int
    number: int
    is_gone: bool = False


@dataclass(slots=True)
class _Flow(Generic[T]):
    name: str
    number: int
    account: Account
    heap: list[tuple[float, int, int, Entry[T]]] = field(default_factory=list)

    def head(self) -> Entry[T] | None:
        while self.heap and self.heap[0][3].is_gone:
            heapq.heappop(self.heap)
        return self.heap[0][3] if self.heap else None


class FairQueue(Generic[T]):
    """The flows of one lane and level, as a heap whose keys are put right when they surface.

    Args:
        accounts: the flows' accounts, shared with the other lanes of a tenant.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._flows: dict[str, _Flow[T]] = {}
        self._heap: list[tuple[Key, _Flow[T]]] = []
        self._numbers = 0

    def add(self, flow_name: str, entry: Entry[T], *, now_slot: float) -> Account:
        """Queue an entry for a flow; its account."""
        flow = self._flows.get(flow_name)
        if flow is None:
            flow = _Flow(flow_name, self._numbers, self._accounts.of(flow_name))
            self._numbers += 1
            self._flows[flow_name] = flow
        account = flow.account = self._accounts.of(flow_name)
        known = flow.head()
        heapq.heappush(flow.heap, (entry.slot, entry.position, entry.number, entry))
        if known is None or entry.slot < known.slot:
            heapq.heappush(self._heap, (self._key(flow, entry, now_slot), flow))
        return account

    def best(self, now_slot: float) -> tuple[Key, Entry[T]] | None:
        """What comes first, and its key among queues of the same accounts; None if empty."""
        while self._heap:
            key, flow = self._heap[0]
            head = flow.head()
            if head is None:
                heapq.heappop(self._heap)
                if self._flows.get(flow.name) is flow:
                    del self._flows[flow.name]
                continue
            actual = self._key(flow, head, now_slot)
            if actual == key:
                return key, head
            heapq.heapreplace(self._heap, (actual, flow))
        return None

    def _key(self, flow: _Flow[T], head: Entry[T], now_slot: float) -> Key:
        """Among those of its level, whose slot is over goes after those who can be in time."""
        slot = math.inf if head.slot < now_slot else head.slot
        start = flow.account.start
        return (
            (start, slot, flow.number)
            if self._accounts.fewest_first
            else (slot, start, flow.number)
        )
