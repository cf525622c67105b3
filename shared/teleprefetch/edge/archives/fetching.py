"""One bounded pool of fetching threads for the whole node: what is most urgent goes first.

The same thing asked for twice is fetched once, and everybody who asked gets the answer, or the
error. Nobody depends on the first one to ask: work goes on as long as somebody waits for it.
"""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")


class Urgency(IntEnum):
    """Who goes first; a reader who waits always does."""

    READER = 0
    STAT = 1
    HIGH = 2
    ROUTINE = 3


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """What an asker gets; `joined` if somebody else had asked already."""

    future: "Future[T]"
    joined: bool


class _Fetch:
    def __init__(self, key: Hashable, work: Callable[[], Any]) -> None:
        self.key = key
        self.work = work
        self.urgency: Urgency | None = None
        self.started = False
        self.waiting: list[Future[Any]] = []


class FetchPool:
    """Threads that fetch, in order of urgency and then of asking.

    Readers have threads of their own beside the others, so that one never waits for a warming
    fetch to end; and as long as a reader's fetch is under way, three quarters of the others begin
    nothing less urgent, since the link is shared.

    Args:
        threads: how many fetches run at once for warming.
        at_thread_end: called by each thread as it ends.
        reader_threads: how many more run at once for readers alone; a quarter, if not given.
    """

    def __init__(
        self,
        threads: int,
        *,
        at_thread_end: Callable[[], None],
        reader_threads: int | None = None,
    ) -> None:
        self._at_thread_end = at_thread_end
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._queues: dict[bool, list[tuple[int, int, _Fetch]]] = {True: [], False: []}
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

    def submit(self, key: Hashable, work: Callable[[], T], *, urgency: Urgency) -> Ticket[T]:
        """A ticket for the answer of `work`, or of the same work if it is queued or under way.

        A more urgent asker moves queued work forward. A future that is cancelled gives up
        only its own interest.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return Ticket(future=future, joined=False)
            joined = key in self._by_key
            fetch = self._by_key.setdefault(key, _Fetch(key, work))
            fetch.waiting.append(future)
            if not fetch.started and (fetch.urgency is None or urgency < fetch.urgency):
                fetch.urgency = urgency
                queue = self._queues[urgency is Urgency.READER]
                heapq.heappush(queue, (urgency, next(self._numbers), fetch))
                self._changed.notify_all()
        return Ticket(future=future, joined=joined)

    def close(self) -> None:
        """Cancel what is queued, and return when what runs has ended."""
        with self._changed:
            self._closed = True
            queued = [fetch for fetch in self._by_key.values() if not fetch.started]
            for queue in self._queues.values():
                queue.clear()
            self._changed.notify_all()
        for fetch in queued:
            for future in fetch.waiting:
                future.cancel()
        for thread in self._threads:
            thread.join()

    def _run(self, for_readers: bool) -> None:
        try:
            while (fetch := self._next(for_readers)) is not None:
                self._finish(fetch)
        finally:
            self._at_thread_end()

    def _next(self, for_readers: bool) -> _Fetch | None:
        with self._changed:
            while True:
                fetch = self._taken(for_readers)
                if fetch is not None or self._closed:
                    return fetch
                self._changed.wait()

    def _taken(self, for_readers: bool) -> _Fetch | None:
        fetch = self._first(self._queues[True])
        if fetch is None and not for_readers and self._may_begin():
            fetch = self._first(self._queues[False])
        if fetch is not None:
            fetch.started = True
            self._count(fetch, 1)
        return fetch

    def _first(self, queue: list[tuple[int, int, _Fetch]]) -> _Fetch | None:
        while queue:
            fetch = heapq.heappop(queue)[2]
            if self._is_wanted(fetch):
                return fetch
        return None

    def _may_begin(self) -> bool:
        return not self._readers_running or self._others_running < self._others_beside_readers

    def _count(self, fetch: _Fetch, number: int) -> None:
        if fetch.urgency is Urgency.READER:
            self._readers_running += number
        else:
            self._others_running += number

    def _is_wanted(self, fetch: _Fetch) -> bool:
        if fetch.started:
            return False  # it was moved forward, and this is its old place
        if all(future.cancelled() for future in fetch.waiting):
            self._by_key.pop(fetch.key, None)
            fetch.started = True
            return False
        return True

    def _finish(self, fetch: _Fetch) -> None:
        answer: Any = None
        failure: BaseException | None = None
        try:
            answer = fetch.work()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to those who wait
            failure = error
        with self._changed:
            del self._by_key[fetch.key]
            self._count(fetch, -1)
            if fetch.urgency is Urgency.READER:
                self._changed.notify_all()  # what stood back for it goes on
        claimed = [future for future in fetch.waiting if future.set_running_or_notify_cancel()]
        for future in claimed:
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
        if failure is not None and not claimed:
            _LOG.warning("a fetch that nobody waits for failed: %s", type(failure).__name__)
