"""Work that takes longer than a page: it goes on by itself, and its page tells how far it is."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from teleprefetch.errors import OriginUnavailableError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_MOST_KEPT: Final = 50


@dataclass(slots=True)
class Job:
    """One piece of work; its own thread writes, pages read it `as_now`.

    Attributes:
        kind: what it is, which is where its page is: `preview`, `replay`, `rules`, `actpreview` or
            `acted`.
        by: who began it.
        about: what it was asked.
        done: what came of it so far.
        result: what came of it in all, where that is more than what is done.
        error: why it ended early; empty if it did not.
        is_stopped: the console ends, and the work with it.
    """

    id: str
    kind: str
    by: str
    begun_at: datetime
    about: Any
    done: list[Any] = field(default_factory=list)
    result: Any = None
    error: str = ""
    ended_at: datetime | None = None
    is_stopped: bool = False

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            OriginUnavailableError: the console ends.
        """
        if self.is_stopped:
            raise OriginUnavailableError("console: it ended before this was done")

    def as_now(self) -> "Job":
        """What it is at this moment, which does not change while a page is made of it.

        Its end is read first: what has ended here has all that came of it.
        """
        ended_at = self.ended_at
        return replace(self, ended_at=ended_at, done=list(self.done))


class Jobs:
    """The jobs of this process, the last fifty of them.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._threads: dict[str, threading.Thread] = {}

    def begin(
        self, job_id: str, kind: str, *, by: str, about: Any, work: Callable[[Job], None]
    ) -> Job:
        """Begin a job, unless there is one of that id: then that one, so nothing is done twice.

        Raises:
            OriginUnavailableError: fifty jobs are under way.
        """
        with self._lock:
            if job_id in self._jobs:
                return self._jobs[job_id]
            self._make_room()
            job = Job(id=job_id, kind=kind, by=by, begun_at=self._clock(), about=about)
            thread = threading.Thread(target=self._run, args=(job, work), name=f"job-{kind}")
            self._jobs[job_id], self._threads[job_id] = job, thread
            thread.start()  # before the lock is left: `close` waits for what has started
        return job

    def of(self, job_id: str, kind: str) -> Job | None:
        """A job of that kind as it is now, if it is still known."""
        job = self._jobs.get(job_id)
        return job.as_now() if job is not None and job.kind == kind else None

    def close(self) -> None:
        """End what is under way between two of its steps, and wait for that."""
        with self._lock:
            jobs, threads = tuple(self._jobs.values()), tuple(self._threads.values())
        for job in jobs:
            job.is_stopped = True
        for thread in threads:
            thread.join()

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        try:
            work(job)
        except PrefetchError as error:
            job.error = f"{type(error).__name__}: {error}"
        except BaseException:
            job.error = "it broke; the console's log says where"
            _LOG.exception("job %s broke", job.kind)
            raise
        finally:
            job.ended_at = self._clock()

    def _make_room(self) -> None:
        if len(self._jobs) < _MOST_KEPT:
            return
        ended = next((one for one in self._jobs.values() if one.ended_at is not None), None)
        if ended is None:
            raise OriginUnavailableError(f"console: {_MOST_KEPT} jobs are under way; wait for one")
        del self._jobs[ended.id], self._threads[ended.id]
