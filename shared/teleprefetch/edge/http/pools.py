"""Threads for what would hold the event loop up: the index, the disk, codecs, the archive."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[], Any]
Told = Callable[[Any, BaseException | None], None]


class Pool:
    """A few threads and a bounded queue.

    Args:
        name: what its threads are called.
        threads: how many run at once.
        most_waiting: how much may be queued.
        at_thread_end: called by each thread as it ends.
    """

    def __init__(
        self, name: str, *, threads: int, most_waiting: int, at_thread_end: Callable[[], None]
    ) -> None:
        self._at_thread_end = at_thread_end
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._queue: deque[tuple[Work, Told]] = deque()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}") for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, told: Told) -> bool:
        """Do some work and tell its answer or its error from the thread; False: too much waits."""
        with self._changed:
            if self._is_closed or len(self._queue) >= self._most_waiting:
                return False
            self._queue.append((work, told))
            self._changed.notify()
        return True

    def close(self) -> None:
        """Forget what is queued, and return when what runs has ended."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                self._do(*task)
        finally:
            self._at_thread_end()

    def _next(self) -> tuple[Work, Told] | None:
        with self._changed:
            while not self._queue and not self._is_closed:
                self._changed.wait()
            return None if self._is_closed else self._queue.popleft()

    def _do(self, work: Work, told: Told) -> None:
        answer: Any = None
        failure: BaseException | None = None
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to who waits
            failure = error
        told(answer, failure)
