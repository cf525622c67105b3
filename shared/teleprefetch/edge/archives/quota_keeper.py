"""Keeps a node within the quotas that it shares with other nodes and with readers.

Warming passes through as the pool's gate. Readers are counted and never held back. What the ledger
says is asked for by a thread of its own, so that neither ever waits for it; while it is away the
node allows itself a tenth, as if ten did the same.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from teleprefetch.domain.quota import WINDOW_S, Quota
from teleprefetch.domain.quota_meter import Moment, QuotaMeter
from teleprefetch.domain.scheduling import Lane, Operation
from teleprefetch.domain.server_time import ServerTime
from teleprefetch.edge.store.counters import Counted
from teleprefetch.errors import PrefetchError
from teleprefetch.ports import QuotaLedger

_Key = tuple[str, Operation]
_LOG: Final = logging.getLogger(__name__)
_IDLE_S: Final = 60.0
_LEAST_PAUSE_S: Final = 0.1


class QuotaKeeper:
    """The gate of a node's warming, over all its archives; shared by threads.

    Args:
        ledger: what all nodes share.
        quotas: by group of archives and what is asked for; what has none is never held back.
        groups: the group of each archive: those that draw on the same quotas.
        readers_share: what readers have for themselves, from 0 to 1.
        queued: how many fetches wait in each lane.
        wake: called when tokens have come.
        count: counts "quota_alone" for each ask that the ledger did not answer, and
            "throttled_fetches" for each 429.
        monotonic_s: seconds of a clock that only goes forward.
        wall_s: seconds since the epoch; asked once, for a ledger without a clock.
    """

    def __init__(
        self,
        ledger: QuotaLedger,
        quotas: Mapping[str, Mapping[Operation, Quota]],
        *,
        groups: Mapping[str, str],
        readers_share: float,
        queued: Callable[[], Mapping[Lane, int]],
        wake: Callable[[], None],
        count: Callable[[Counted], None] = lambda _name: None,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._groups = groups
        self._queued = queued
        self._wake = wake
        self._count = count
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._time = ServerTime()
        self._lock = threading.Lock()
        self._meters = {
            (group, operation): QuotaMeter(quota, readers_share)
            for group, by_operation in quotas.items()
            for operation, quota in by_operation.items()
        }
        self._slow: set[_Key] = set()
        self._needed = threading.Event()

    def wait_s(self, lane: Lane, /) -> float:
        """In how many seconds the lane has a token."""
        meter = self._meters.get(self._key(lane.tenant, lane.operation))
        if meter is None:
            return 0.0
        with self._lock:
            wait_s = meter.wait_s(self._monotonic_s())
        if wait_s > WINDOW_S:
            self._needed.set()
        return wait_s

    def begun(self, lane: Lane, /) -> None:
        """Spend a token."""
        meter = self._meters.get(self._key(lane.tenant, lane.operation))
        if meter is not None:
            with self._lock:
                meter.spend(self._monotonic_s())

    def throttled(self, lane: Lane, /) -> None:
        """Have all nodes slow down."""
        self.told_to_slow_down(lane.tenant, lane.operation)

    def told_to_slow_down(self, origin_id: str, operation: Operation) -> None:
        """An archive answered 429, to whomever."""
        self._count("throttled_fetches")
        key = self._key(origin_id, operation)
        if key in self._meters:
            self._slow.add(key)
            self._needed.set()

    def read(self, origin_id: str, operation: Operation) -> None:
        """A reader's request goes out; it is counted, and never waits."""
        meter = self._meters.get(self._key(origin_id, operation))
        if meter is None:
            return
        with self._lock:
            has_news = meter.read(self._monotonic_s())
        if has_news:
            self._needed.set()

    def step(self) -> float:
        """Talk to the ledger where there is something to say; in how many seconds to look again."""
        queued = self._by_operation()
        again_s = _IDLE_S
        for key, meter in self._meters.items():
            if key in self._slow:
                self._slow.discard(key)
                self._slow_down(key, meter)
            if queued[key] or meter.has_news:
                again_s = min(again_s, self._lease(key, meter, queued[key]))
        return again_s

    def run(self, ended: threading.Event) -> None:
        """Step until the end; for a thread of its own."""
        while not ended.is_set():
            again_s = self.step()
            ended.wait(min(again_s, _LEAST_PAUSE_S))
            self._needed.wait(max(0.0, min(again_s, _IDLE_S) - _LEAST_PAUSE_S))
            self._needed.clear()

    def end(self) -> None:
        """Have `run` look whether it has ended."""
        self._needed.set()

    def used_share(self, seconds: float) -> float:
        """The share that was used of the scarcest quota since this was last asked, so long ago."""
        with self._lock:
            shares = [
                meter.use.take() / (meter.quota.per_second * seconds)
                for meter in self._meters.values()
            ]
        return max(shares, default=0.0)

    @property
    def is_alone(self) -> bool:
        """Whether the ledger does not answer."""
        return any(meter.is_alone for meter in self._meters.values())

    def _key(self, origin_id: str, operation: Operation) -> _Key:
        return self._groups.get(origin_id, ""), operation

    def _by_operation(self) -> Counter[_Key]:
        """How many fetches wait for each operation."""
        waiting: Counter[_Key] = Counter()
        for lane, number in self._queued().items():
            waiting[self._key(lane.tenant, lane.operation)] += number
        return waiting

    def _lease(self, key: _Key, meter: QuotaMeter, queued: int) -> float:
        moment = self._moment(key, meter)
        with self._lock:
            ask = meter.ask(moment, queued=queued)
        if ask is None:
            return meter.look_again_s(moment)
        sent_s = self._monotonic_s()
        try:
            lease = self._ledger.lease(_name(key), ask)
        except PrefetchError as error:
            self._go_alone(meter, error)
            with self._lock:
                granted = meter.alone(ask, self._now())
        else:
            self._hear(lease.date_s, sent_s)
            if meter.is_alone:
                _LOG.warning("the quota ledger answers again")
            with self._lock:
                granted = meter.granted(ask, lease, self._now())
        if granted:
            self._wake()
        return meter.look_again_s(self._now())

    def _slow_down(self, key: _Key, meter: QuotaMeter) -> None:
        window = self._moment(key, meter).window
        sent_s = self._monotonic_s()
        try:
            lease = self._ledger.slow_down(_name(key), window=window)
        except PrefetchError as error:
            self._go_alone(meter, error)
            with self._lock:
                meter.slow_down_alone(window)
        else:
            self._hear(lease.date_s, sent_s)
            with self._lock:
                meter.state = lease.state

    def _go_alone(self, meter: QuotaMeter, error: PrefetchError) -> None:
        self._count("quota_alone")
        if not meter.is_alone:
            _LOG.warning(
                "the quota ledger does not answer: %s; warming goes on at a tenth of the quota",
                type(error).__name__,
            )

    def _hear(self, date_s: float | None, sent_s: float) -> None:
        if date_s is not None:
            self._time.heard(date_s, sent_s=sent_s, received_s=self._monotonic_s())

    def _moment(self, key: _Key, meter: QuotaMeter) -> Moment:
        """Now; the server's time is asked for first, if nothing was heard of it yet."""
        if self._time.at(0.0) is None:
            self._first_state(key, meter)
        return self._now()

    def _now(self) -> Moment:
        now_s = self._monotonic_s()
        server_s = self._time.at(now_s)
        return Moment(now_s, now_s if server_s is None else server_s)

    def _first_state(self, key: _Key, meter: QuotaMeter) -> None:
        sent_s = self._monotonic_s()
        date_s: float | None = None
        try:
            lease = self._ledger.state(_name(key))
        except PrefetchError as error:
            self._go_alone(meter, error)
            meter.is_alone = True
        else:
            date_s, meter.state = lease.date_s, lease.state
        if date_s is None:
            date_s = self._wall_s()
        self._time.heard(date_s, sent_s=sent_s, received_s=self._monotonic_s())


def _name(key: _Key) -> str:
    return f"{key[0]}#{key[1].name.lower()}"
