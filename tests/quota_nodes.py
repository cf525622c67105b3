"""Nodes that share a data store's quota, on one virtual clock: the shipped keeper, no thread."""

from dataclasses import dataclass, field

from teleprefetch.domain.quota import Quota
from teleprefetch.domain.scheduling import Lane, Operation
from teleprefetch.edge.archives.quota_keeper import QuotaKeeper
from tests.fakes import MemoryQuotaLedger

STORE = "store"
FRAMES = Lane(STORE, Operation.FRAME)


@dataclass
class VirtualClock:
    """Seconds that pass when they are told to."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


class AwsBucket:
    """HealthImaging's own token bucket: full at first, and what it refuses is a 429."""

    def __init__(self, quota: Quota, clock: VirtualClock) -> None:
        self._quota = quota
        self._clock = clock
        self._tokens = float(quota.burst)
        self._filled_at_s = clock()
        self.admitted = 0
        self.refused = 0
        self.is_shut = False

    def take(self) -> bool:
        gained = (self._clock() - self._filled_at_s) * self._quota.per_second
        self._tokens = min(float(self._quota.burst), self._tokens + gained)
        self._filled_at_s = self._clock()
        if self.is_shut or self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.admitted += 1
        return True


@dataclass
class QuotaNode:
    """A node whose own clock is off by `skew_s`, with so many frames queued."""

    clock: VirtualClock
    ledger: MemoryQuotaLedger
    quota: Quota
    skew_s: float = 0.0
    readers_share: float = 0.2
    queued: int = 0
    is_dead: bool = False
    spent_at_s: list[float] = field(default_factory=list)
    keeper: QuotaKeeper = field(init=False)

    def __post_init__(self) -> None:
        self.keeper = QuotaKeeper(
            self.ledger,
            {STORE: {Operation.FRAME: self.quota}},
            groups={STORE: STORE},
            readers_share=self.readers_share,
            queued=lambda: {FRAMES: self.queued},
            wake=lambda: None,
            monotonic_s=lambda: self.clock() + self.skew_s,
            wall_s=lambda: self.clock() + 77 * self.skew_s,
        )

    def spend(self, bucket: AwsBucket | None = None) -> int:
        """Begin as many fetches as the keeper lets; how many."""
        begun = 0
        while self.queued and not self.keeper.wait_s(FRAMES):
            self.keeper.begun(FRAMES)
            self.queued -= 1
            begun += 1
            self.spent_at_s.append(self.clock())
            if bucket is not None and not bucket.take():
                self.keeper.throttled(FRAMES)
                self.queued += 1
        return begun
