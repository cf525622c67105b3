"""A data store with HealthImaging's quotas, nodes and readers, on a virtual clock.

What decides is the shipped code: `Schedule`, `WarmingOrder`, `FramesToAsk`, `Forecast`, `too_late`,
`QuotaKeeper` with its meters, `Line` with the worker's own numbers. The ledger is the fake of the
contract suite. What is imitated: threads (places for fetches, each busy for a fixed time), the
queue (first in, first out), the order's loop (`Running`), and the notice's timer.
"""

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

from teleprefetch.domain.quota import HEALTHIMAGING_QUOTAS, Quota, by_operation
from teleprefetch.domain.scheduling import Operation
from tests.benchmarks.storm_load import UNIT_FRAMES, Import
from tests.benchmarks.storm_nodes import READERS_SHARE, Node
from tests.fakes import MemoryQuotaLedger
from tests.quota_nodes import AwsBucket, VirtualClock


def quotas() -> dict[Operation, Quota]:
    """HealthImaging's defaults; frames by the unit."""
    frames = HEALTHIMAGING_QUOTAS["GetImageFrame"]
    by_unit = Quota(frames.per_second / UNIT_FRAMES, frames.burst // UNIT_FRAMES)
    return by_operation({**HEALTHIMAGING_QUOTAS, "GetImageFrame": by_unit})


class World:
    """Everything that happens, in order of time."""

    def __init__(self, nodes: int, concurrency: int, *, seed: int = 1) -> None:
        self.clock = VirtualClock(0.0)
        self.chance = random.Random(seed)  # noqa: S311
        self.ledger = MemoryQuotaLedger(date_s=lambda: self.clock() + 10**6 + 0.4)
        self.quotas = quotas()
        self.buckets = {name: AwsBucket(one, self.clock) for name, one in self.quotas.items()}
        self.counts: Counter[str] = Counter()
        self.in_time: Counter[tuple[str, str]] = Counter()
        self.released_s: dict[int, float] = {}
        self.attempts: Counter[int] = Counter()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        places = max(2, round(concurrency / UNIT_FRAMES))
        self.nodes = [Node(self, number, places) for number in range(nodes)]
        self.shut_until_s = -1.0
        self.until_s = math.inf

    def at(self, moment_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_s, next(self._numbers), what))

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            moment_s, _, what = heapq.heappop(self._events)
            self.clock.now_s = max(self.clock.now_s, moment_s)
            what()

    def ask(self, operation: Operation) -> bool:
        """One request; False if it was answered 429. Both calls of metadata have equal quotas."""
        if operation is Operation.FRAME:
            self.attempts[int(self.clock.now_s)] += 1
        self.buckets[operation].is_shut = self.clock.now_s < self.shut_until_s
        return self.buckets[operation].take()

    def release(self, wanted: Import) -> None:
        """The notice goes out: at the end of its order, or by its timer, whichever is first."""
        self.released_s.setdefault(wanted.number, self.clock.now_s)

    def read_until(self, until_s: float) -> None:
        """Live readers at their whole share of each quota; half of them through nodes."""
        for operation in Operation:
            rate = READERS_SHARE * self.quotas[operation].per_second
            self.at(self.chance.random() / rate, lambda o=operation: self._read(o, until_s))

    def _read(self, operation: Operation, until_s: float) -> None:
        rate = READERS_SHARE * self.quotas[operation].per_second
        if self.chance.random() < 0.5:
            keeper = self.chance.choice(self.nodes).keeper
            keeper.read("big", operation)
        self.counts["reader_requests"] += 1
        if not self.ask(operation) and self.clock.now_s >= self.shut_until_s:
            self.counts["reader_throttles"] += 1
        if self.clock.now_s + 1 / rate < until_s:
            self.at(self.clock.now_s + 1 / rate, lambda: self._read(operation, until_s))
