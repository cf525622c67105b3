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
from teleprefetch.errors import NodeUnavailableError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_MOST_IN_GROUP: Final = 4096
_ALARM_EVERY_S: Final = 10.0

Done = Callable[[PrefetchError | None], None]
OnFull = Literal["deny", "emergency-allow"]


class Position(NamedTuple):
    """The last durable record of a lane."""

    seq: int
    hash: str


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class _Waiting(NamedTuple):
    kind: str
    body: bytes
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
        self._lane = lane
        self._clock = clock
        self._after_group = after_group
        self._most_waiting = most_waiting
        self._debt = Debt()
        self._alarmed_at = -_ALARM_EVERY_S
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._in_hand: deque[_Waiting] = deque()
        self._closing = False
        lane.restore_reserve()
        self._writer = threading.Thread(target=self._run, name=f"audit {lane.name}", daemon=True)
        self._writer.start()
        for record in _opening(lane):
            self.submit(record, _ignore)

    @property
    def is_failing(self) -> bool:
        """True while records cannot be made durable."""
        return self._debt.is_open

    def submit(self, record: AuditRecord, done: Done) -> None:
        """Take a record; `done` is called once by the log's thread, with None when it is durable.

        `done` must be quick, as the whole group waits for it; a loop wakes itself there.

        Raises:
            InvalidPayloadError: the record cannot be written as it is.
            NodeUnavailableError: the log is closed, or too many records wait.
        """
        waiting = _Waiting(record.kind, record.canonical(), done)
        with self._changed:
            if self._closing:
                raise NodeUnavailableError("audit: closed")
            if len(self._waiting) >= self._most_waiting:
                raise NodeUnavailableError("audit: too many records wait")
            self._waiting.append(waiting)
            if len(self._waiting) == 1:
                self._changed.notify()

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
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self.submit(record, lambda error: _resolve_soon(loop, future, error))
        await future

    def close(self) -> None:
        """Write what waits and that it ends here, and let others write the lane."""
        with self._changed:
            if self._closing:
                return
            body = AuditRecord(kind="stopped").canonical()
            self._waiting.append(_Waiting("stopped", body, _ignore))
            self._closing = True
            self._changed.notify()
        self._writer.join()
        self._lane.close()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._take_down(group)
                if self._after_group is not None:
                    self._after_group()
        finally:
            self._abandon()

    def _take_down(self, group: Sequence[_Waiting]) -> None:
        if self._debt.is_open and not self._may_try():
            self._refuse(group, None)
            return
        try:
            self._append([*self._debt.records(self._clock()), *(each.body for each in group)])
        except OSError as error:
            self._refuse(group, error)
            return
        if self._debt.is_open:
            _LOG.critical("audit: can be written again; %d events were late", self._debt.events)
            self._debt = Debt()
        self._tell(group, None)

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
        for each in left:
            each.done(NodeUnavailableError("audit: ended"))

    def _next_group(self) -> Sequence[_Waiting]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            taken = min(len(self._waiting), _MOST_IN_GROUP)
            return [self._waiting.popleft() for _ in range(taken)]

    def _append(self, bodies: Sequence[bytes]) -> None:
        self._lane.append(bodies, at=stamp(self._clock()))
        self.position = Position(self._lane.chain.seq, self._lane.chain.head)
        self.groups += 1

    def _may_try(self) -> bool:
        return not self._debt.is_full or self._lane.restore_reserve()

    def _refuse(self, group: Sequence[_Waiting], error: OSError | None) -> None:
        if error is not None:
            self._begin_debt(error)
        allowed = self.on_full == "emergency-allow"
        for each in group:
            self._debt.add(each.kind, each.body, was_denied=not allowed)
        self._alarm()
        problem = None if allowed else NodeUnavailableError("audit: cannot be written")
        self._tell(group, problem)

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

    def _alarm(self) -> None:
        if time.monotonic() - self._alarmed_at < _ALARM_EVERY_S:
            return
        self._alarmed_at = time.monotonic()
        _LOG.critical(
            "audit: cannot be written (%s); policy %s; %d events so far",
            self._debt.cause,
            self.on_full,
            self._debt.events,
        )


def _opening(lane: Lane) -> Sequence[AuditRecord]:
    """What a lane says when it is opened, and how it was found."""
    started = AuditRecord(kind="started", detail={"process": os.getpid()})
    tail = lane.tail
    detail: dict[str, str | int]
    if tail.damaged_line:
        detail = {"segment": tail.damaged_segment, "line": tail.damaged_line}
        return (AuditRecord(kind="recovered", reason="a damaged line", detail=detail), started)
    if tail.torn_bytes:
        detail = {"bytes": tail.torn_bytes, "sha256": tail.torn_sha256}
        return (AuditRecord(kind="recovered", reason="a torn end", detail=detail), started)
    return (started,)


def _ignore(_error: PrefetchError | None) -> None:
    """Nobody waits for it."""


def _resolve_soon(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]", error: PrefetchError | None
) -> None:
    def resolve() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
