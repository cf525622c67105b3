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
        self.urgency: int | None = None
        self.started = False
        self.waiting: list[Future[Any]] = []


class FetchPool:
    """Threads that fetch, in order of urgency and then of asking.

    Args:
        threads: how many fetches run at once.
        at_thread_end: called by each thread as it ends.
    """

    def __init__(self, threads: int, *, at_thread_end: Callable[[], None]) -> None:
        self._at_thread_end = at_thread_end
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._queue: list[tuple[int, int, _Fetch]] = []
        self._by_key: dict[Hashable, _Fetch] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"fetch-{number}") for number in range(threads)
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
                heapq.heappush(self._queue, (urgency, next(self._numbers), fetch))
                self._changed.notify()
        return Ticket(future=future, joined=joined)

    def close(self) -> None:
        """Cancel what is queued, and return when what runs has ended."""
        with self._changed:
            self._closed = True
            queued = [fetch for fetch in self._by_key.values() if not fetch.started]
            self._queue.clear()
            self._changed.notify_all()
        for fetch in queued:
            for future in fetch.waiting:
                future.cancel()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (fetch := self._next()) is not None:
                self._finish(fetch)
        finally:
            self._at_thread_end()

    def _next(self) -> _Fetch | None:
        with self._changed:
            while True:
                while self._queue:
                    _, _, fetch = heapq.heappop(self._queue)
                    if self._is_wanted(fetch):
                        fetch.started = True
                        return fetch
                if self._closed:
                    return None
                self._changed.wait()

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
        claimed = [future for future in fetch.waiting if future.set_running_or_notify_cancel()]
        for future in claimed:
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
        if failure is not None and not claimed:
            _LOG.warning("a fetch that nobody waits for failed: %s", type(failure).__name__)
