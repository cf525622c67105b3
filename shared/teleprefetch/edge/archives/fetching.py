"""One bounded pool of fetching threads for the whole node: what is most useful goes first.

The same thing asked for twice is fetched once, and everybody who asked gets the answer, or the
error. Nobody depends on the first one to ask: work goes on as long as somebody waits for it.
"""

import heapq
import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from teleprefetch.domain.scheduling import Lane, Schedule, Turn, Urgency
from teleprefetch.edge.archives.gate import Gate, OpenGate
from teleprefetch.errors import OriginThrottledError, OriginUnavailableError

__all__ = ["FetchPool", "Ticket", "Urgency"]
_LOG: Final = logging.getLogger(__name__)
_PASSING: Final = (OriginThrottledError, OriginUnavailableError)
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 20.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """What an asker gets; `joined` if somebody else had asked already."""

    future: "Future[T]"
    joined: bool


@dataclass(slots=True, eq=False)
class _Fetch:
    key: Hashable
    work: Callable[[], Any]
    asked_s: float
    turn: Turn | None = None
    started: bool = False
    failures: int = 0
    waiting: list["Future[Any]"] = field(default_factory=list)

    @property
    def is_for_reader(self) -> bool:
        return self.turn is not None and self.turn.urgency is Urgency.READER

    @property
    def is_wanted(self) -> bool:
        return not all(future.cancelled() for future in self.waiting)


class FetchPool:
    """Threads that fetch, in the order of `domain.scheduling`.

    Readers have threads of their own beside the others, so that one never waits for a warming
    fetch to end; and as long as a reader's fetch is under way, three quarters of the others begin
    nothing less urgent, since the link is shared.

    Args:
        threads: how many fetches run at once for warming.
        at_thread_end: called by each thread as it ends.
        reader_threads: how many more run at once for readers alone; a quarter, if not given.
        limit: how many of the warming threads may fetch now; all, if not given.
        gate: when warming may ask; a reader never waits for it.
        patience_s: how long warming asks again while an archive throttles or is away; the threads
            do other work meanwhile.
        monotonic_s: the clock of the turns' `due_s`.
        draw: a number from 0 to 1, for pauses drawn from the whole range.
    """

    def __init__(
        self,
        threads: int,
        *,
        at_thread_end: Callable[[], None],
        reader_threads: int | None = None,
        limit: Callable[[], int] | None = None,
        gate: Gate | None = None,
        patience_s: float = 0.0,
        monotonic_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._at_thread_end = at_thread_end
        self._limit = limit or (lambda: threads)
        self._gate = gate or OpenGate()
        self._patience_s = patience_s
        self._monotonic_s = monotonic_s
        self._draw = draw
        self._lock = threading.Lock()
        self._for_warming = threading.Condition(self._lock)
        self._for_reading = threading.Condition(self._lock)
        self._numbers = itertools.count()
        self._for_readers: deque[_Fetch] = deque()
        self._schedule: Schedule[_Fetch] = Schedule()
        self._later: list[tuple[float, int, _Fetch]] = []
        self._by_key: dict[Hashable, _Fetch] = {}
        self._closed = False
        self._readers_running = 0
        self._others_running = 0
        self._others_beside_readers = max(1, threads // 4)
        reader_threads = max(1, threads // 4) if reader_threads is None else reader_threads
        self._threads = [
            threading.Thread(target=self._run, args=(for_readers,), name=f"fetch-{number}")
            for number, for_readers in enumerate([False] * threads + [True] * reader_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        key: Hashable,
        work: Callable[[], T],
        *,
        urgency: Urgency,
        turn: Turn | None = None,
    ) -> Ticket[T]:
        """A ticket for the answer of `work`, or of the same work if it is queued or under way.

        A more urgent asker moves queued work forward. A future that is cancelled gives up
        only its own interest.

        Args:
            key: what is fetched.
            work: fetches it.
            urgency: how urgent it is.
            turn: where it stands among what is as urgent; in the order of asking, if not given.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.cancel()
                return Ticket(future=future, joined=False)
            joined = key in self._by_key
            fetch = self._by_key.setdefault(key, _Fetch(key, work, self._monotonic_s()))
            fetch.waiting.append(future)
            turn = turn or Turn(urgency=urgency, position=next(self._numbers))
            if not fetch.started and (fetch.turn is None or turn.is_before(fetch.turn)):
                self._queue(fetch, turn)
        return Ticket(future=future, joined=joined)

    def wake(self) -> None:
        """The gate has opened."""
        with self._lock:
            self._for_warming.notify_all()

    def queued(self) -> Mapping[Lane, int]:
        """How many warming fetches wait, by lane."""
        with self._lock:
            return self._schedule.lengths()

    def close(self) -> None:
        """Cancel what is queued, and return when what runs has ended."""
        with self._lock:
            self._closed = True
            queued = [fetch for fetch in self._by_key.values() if not fetch.started]
            self._for_readers.clear()
            self._later.clear()
            for fetch in queued:
                self._schedule.discard(fetch)
            self._for_warming.notify_all()
            self._for_reading.notify_all()
        for fetch in queued:
            for future in fetch.waiting:
                future.cancel()
        for thread in self._threads:
            thread.join()

    def _queue(self, fetch: _Fetch, turn: Turn) -> None:
        fetch.turn = turn
        if turn.urgency is Urgency.READER:
            self._schedule.discard(fetch)
            self._for_readers.append(fetch)
            self._for_reading.notify()
        else:
            self._schedule.add(fetch, turn)
        self._for_warming.notify()

    def _run(self, for_readers: bool) -> None:
        try:
            while (fetch := self._next(for_readers)) is not None:
                self._finish(fetch)
        finally:
            self._at_thread_end()

    def _next(self, for_readers: bool) -> _Fetch | None:
        changed = self._for_reading if for_readers else self._for_warming
        with self._lock:
            while True:
                fetch, wait_s = self._taken(for_readers)
                if fetch is not None or self._closed:
                    return fetch
                changed.wait(None if math.isinf(wait_s) else wait_s)

    def _taken(self, for_readers: bool) -> tuple[_Fetch | None, float]:
        """The fetch to begin, or in how many seconds to look again."""
        fetch, wait_s = self._first_of_readers(), math.inf
        if fetch is None and not for_readers and self._may_begin():
            fetch, wait_s = self._first_of_warming()
        if fetch is not None:
            fetch.started = True
            self._count(fetch, 1)
        return fetch, wait_s

    def _first_of_readers(self) -> _Fetch | None:
        while self._for_readers:
            fetch = self._for_readers.popleft()
            if not fetch.started and self._is_wanted(fetch):
                return fetch
        return None

    def _first_of_warming(self) -> tuple[_Fetch | None, float]:
        now_s = self._monotonic_s()
        wait_s = self._bring_back(now_s)

        def is_open(lane: Lane) -> bool:
            nonlocal wait_s
            lane_wait_s = self._gate.wait_s(lane)
            wait_s = min(wait_s, lane_wait_s) if lane_wait_s else wait_s
            return not lane_wait_s

        while (fetch := self._schedule.take(now_s=now_s, is_open=is_open)) is not None:
            if self._is_wanted(fetch):
                if fetch.turn is not None:
                    self._gate.begun(fetch.turn.lane)
                return fetch, 0.0
        return None, wait_s

    def _bring_back(self, now_s: float) -> float:
        """Queue again what has paused long enough; in how many seconds the next one has."""
        while self._later and self._later[0][0] <= now_s:
            fetch = heapq.heappop(self._later)[2]
            if fetch.turn is not None and not fetch.started and not fetch.is_for_reader:
                self._schedule.add(fetch, fetch.turn)
        return self._later[0][0] - now_s if self._later else math.inf

    def _may_begin(self) -> bool:
        beside = self._others_beside_readers if self._readers_running else math.inf
        return self._others_running < min(beside, self._limit())

    def _count(self, fetch: _Fetch, number: int) -> None:
        if fetch.is_for_reader:
            self._readers_running += number
        else:
            self._others_running += number

    def _is_wanted(self, fetch: _Fetch) -> bool:
        if fetch.is_wanted:
            return True
        self._by_key.pop(fetch.key, None)
        fetch.started = True
        return False

    def _finish(self, fetch: _Fetch) -> None:
        answer: Any = None
        failure: BaseException | None = None
        try:
            answer = fetch.work()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to those who wait
            failure = error
        with self._lock:
            self._count(fetch, -1)
            if fetch.is_for_reader or self._others_running + 1 < self._limit():
                self._for_warming.notify(len(self._threads) if fetch.is_for_reader else 1)
            if isinstance(failure, _PASSING) and self._is_tried_again(fetch, failure):
                return
            del self._by_key[fetch.key]
        _tell(fetch, answer, failure)

    def _is_tried_again(self, fetch: _Fetch, failure: BaseException) -> bool:
        """Put warming's work off for a pause; full jitter, as `adapters.retrying` explains."""
        if fetch.turn is None or fetch.is_for_reader:
            return False
        if isinstance(failure, OriginThrottledError):
            self._gate.throttled(fetch.turn.lane)
        longest_s = min(_FIRST_PAUSE_S * 2.0 ** min(fetch.failures, 16), _LONGEST_PAUSE_S)
        again_s = self._monotonic_s() + longest_s * self._draw()
        if self._closed or again_s > fetch.asked_s + self._patience_s or not fetch.is_wanted:
            return False
        fetch.failures += 1
        fetch.started = False
        heapq.heappush(self._later, (again_s, next(self._numbers), fetch))
        return True


def _tell(fetch: _Fetch, answer: Any, failure: BaseException | None) -> None:
    claimed = [future for future in fetch.waiting if future.set_running_or_notify_cancel()]
    for future in claimed:
        if failure is None:
            future.set_result(answer)
        else:
            future.set_exception(failure)
    if failure is not None and not claimed:
        _LOG.warning("a fetch that nobody waits for failed: %s", type(failure).__name__)
