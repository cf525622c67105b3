"""The audit of one process: whoever commits a record goes on when it is durable.

One thread gathers what all others commit and makes a group of it: one write and one fdatasync,
however many wait. While it syncs, the next group forms by itself.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from teleprefetch.domain.audit.entry import stamp
from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit.debt import Debt
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.tail import opening_records
from teleprefetch.errors import NodeUnavailableError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_MOST_IN_GROUP: Final = 4096
_SLOW_S: Final = 0.005
_SLOW_FOR_S: Final = 2.0

Done = Callable[[PrefetchError | None], None]
OnFull = Literal["deny", "emergency-allow"]


class Position(NamedTuple):
    """The last durable record of a lane."""

    seq: int
    hash: str


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


Line = tuple[str, bytes]
"""A record's kind, and its canonical JSON."""


class _Waiting(NamedTuple):
    lines: Sequence[Line]
    done: Done


class AuditLog:
    """Commits records to a lane.

    Args:
        lane: where they go; closed with the log.
        on_full: what becomes of requests when nothing can be written: `deny` fails their commits,
            `emergency-allow` lets them go on. Either is loud: in the log of the process, in
            `is_failing`, and in the audit itself as soon as it can be written (kind `gap`).
        clock: the time of records.
        after_group: called by the log's thread once a group is done with, after each `done` of it:
            where a loop is woken that `done` has left something for.
        most_waiting: commits beyond so many at once are refused.
    """

    def __init__(
        self,
        lane: Lane,
        *,
        on_full: OnFull = "deny",
        clock: Callable[[], datetime] = now,
        after_group: Callable[[], None] | None = None,
        most_waiting: int = 100_000,
    ) -> None:
        self.on_full: Final = on_full
        self.position = Position(lane.chain.seq, lane.chain.head)
        self.groups = 0
        self.denied = 0
        self._lane = lane
        self._clock = clock
        self._after_group = after_group
        self._most_waiting = most_waiting
        self._debt = Debt()
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._lines_waiting = 0
        self._in_hand: deque[_Waiting] = deque()
        self._closing = False
        self._hand = threading.Lock()
        self._slow_until_s = 0.0
        lane.restore_reserve()
        self._writer = threading.Thread(target=self._run, name=f"audit {lane.name}", daemon=True)
        self._writer.start()
        for record in opening_records(lane.tail):
            self.submit(record, _ignore)

    @property
    def is_failing(self) -> bool:
        """True while records cannot be made durable."""
        return self._debt.is_open

    @property
    def owed(self) -> int:
        """How many events have happened that are not durable."""
        return self._debt.owed

    def submit(self, record: AuditRecord, done: Done) -> None:
        """Take a record; `done` is called once by the log's thread, with None when it is durable.

        `done` must be quick, as the whole group waits for it; a loop wakes itself there.

        Raises:
            InvalidPayloadError: the record cannot be written as it is.
            NodeUnavailableError: the log is closed, or too many records wait.
        """
        self.submit_all(((record.kind, record.canonical()),), done)

    def submit_all(self, lines: Sequence[Line], done: Done) -> None:
        """Take records that were encoded already; they are durable together, or none is.

        `done` is called once for all of them, as by `submit`.

        Raises:
            NodeUnavailableError: the log is closed, or too many records wait.
        """
        with self._changed:
            if self._closing:
                raise NodeUnavailableError("audit: closed")
            if self._lines_waiting >= self._most_waiting:
                raise NodeUnavailableError("audit: too many records wait")
            self._waiting.append(_Waiting(lines, done))
            self._lines_waiting += len(lines)
            if len(self._waiting) == 1:
                self._changed.notify()

    def write_now(self, lines: Sequence[Line]) -> bool:
        """Write records in the caller's thread, if that holds nobody up; False: `submit_all` them.

        It does not while others wait or the disk was slow of late. No thread has to be woken, which
        costs as much as a quick disk's sync.

        Raises:
            NodeUnavailableError: they are not durable, and the policy is to deny.
        """
        if time.monotonic() < self._slow_until_s or not self._hand.acquire(blocking=False):
            return False
        try:
            if self._waiting or self._closing or self._debt.is_open:
                return False
            began_s = time.monotonic()
            problem = self._write(lines)
            if time.monotonic() - began_s > _SLOW_S:
                self._slow_until_s = time.monotonic() + _SLOW_FOR_S
        finally:
            self._hand.release()
        if problem is not None:
            raise problem
        return True

    def try_again(self) -> None:
        """Try to write what could not be written, if anything could not; returns at once."""
        if self._debt.is_open and not self._closing:
            self.submit_all((), _ignore)

    def commit(self, record: AuditRecord) -> None:
        """Return when the record is durable, or the policy lets the request go on without it.

        Raises:
            InvalidPayloadError: the record cannot be written as it is.
            NodeUnavailableError: it is not durable, and the policy is to deny.
        """
        latch = threading.Lock()
        latch.acquire()
        failures: list[PrefetchError] = []

        def done(error: PrefetchError | None) -> None:
            if error is not None:
                failures.append(error)
            latch.release()

        self.submit(record, done)
        latch.acquire()
        if failures:
            raise failures[0]

    async def commit_soon(self, record: AuditRecord) -> None:
        """As `commit`, for a coroutine."""
        await asyncio.to_thread(self.commit, record)

    def close(self) -> None:
        """Write what waits and that it ends here, and let others write the lane."""
        with self._changed:
            if self._closing:
                return
            body = AuditRecord(kind="stopped").canonical()
            self._waiting.append(_Waiting((("stopped", body),), _ignore))
            self._closing = True
            self._changed.notify()
        self._writer.join()
        self._lane.close()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                with self._hand:
                    problem = self._write([line for each in group for line in each.lines])
                self._tell(group, problem)
                if self._after_group is not None:
                    self._after_group()
        finally:
            self._abandon()

    def _write(self, lines: Sequence[Line]) -> PrefetchError | None:
        """Write records, and what is owed; the problem of those who wait for them, if any."""
        if self._debt.is_open and not self._may_try():
            return self._refuse(lines, None)
        try:
            owed = self._debt.records(self._clock()) if self._debt.is_open else ()
            self._append([*owed, *(body for _, body in lines)])
        except OSError as error:
            return self._refuse(lines, error)
        if self._debt.is_open:
            _LOG.critical("audit: can be written again; %d events were late", self._debt.events)
            self._debt = Debt()
        return None

    def _tell(self, group: Sequence[_Waiting], problem: PrefetchError | None) -> None:
        self._in_hand.extend(group)
        while self._in_hand:
            self._in_hand.popleft().done(problem)

    def _abandon(self) -> None:
        """Fail who still waits: at the end nobody does, unless the thread ended by an error."""
        with self._changed:
            self._closing = True
            left = [*self._in_hand, *self._waiting]
            self._in_hand.clear()
            self._waiting.clear()
            self._lines_waiting = 0
        for each in left:
            each.done(NodeUnavailableError("audit: ended"))

    def _next_group(self) -> Sequence[_Waiting]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            taken: list[_Waiting] = []
            count = 0
            while self._waiting and count < _MOST_IN_GROUP:
                taken.append(self._waiting.popleft())
                count += len(taken[-1].lines)
            self._lines_waiting -= count
            return taken

    def _append(self, bodies: Sequence[bytes]) -> None:
        self._lane.append(bodies, at=stamp(self._clock()))
        self.position = Position(self._lane.chain.seq, self._lane.chain.head)
        self.groups += 1

    def _may_try(self) -> bool:
        return not self._debt.is_full or self._lane.restore_reserve()

    def _refuse(self, lines: Sequence[Line], error: OSError | None) -> PrefetchError | None:
        if error is not None:
            self._begin_debt(error)
        allowed = self.on_full == "emergency-allow"
        for kind, body in lines:
            self.denied += self._debt.add(kind, body, was_denied=not allowed)
        self._debt.alarm(self.on_full)
        return None if allowed else NodeUnavailableError("audit: cannot be written")

    def _begin_debt(self, error: OSError) -> None:
        if self._debt.is_open:
            return
        self._debt.open(error, self._clock())
        if not self._debt.is_full:
            return
        self._lane.spend_reserve()
        record = AuditRecord(
            kind="audit-full", reason=os.strerror(error.errno or 0), detail={"policy": self.on_full}
        )
        try:
            self._append([record.canonical()])
        except OSError:
            _LOG.critical("audit: not even that there is no room could be written")


def _ignore(_error: PrefetchError | None) -> None:
    """Nobody waits for it."""
