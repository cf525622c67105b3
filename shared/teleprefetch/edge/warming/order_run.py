"""One warm order under way: metadata of all, then frames in order, proven as they come."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, RLock
from typing import Any, Final

from teleprefetch.domain.warming_order import frame_order, series_order
from teleprefetch.edge.archives.fetching import FetchPool, Ticket, Urgency
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.rows import FrameName, frame_name, series_key
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.tally import (
    ORIGIN_ERRORS,
    OUT_OF_TIME,
    OrderTally,
    SeriesTally,
    words_of,
)
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    NodeUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)
from teleprefetch.model import Plan, SeriesMetadata, WarmOrder, WarmReport
from teleprefetch.ports import Clock

_URGENCY: Final = {"stat": Urgency.STAT, "high": Urgency.HIGH, "routine": Urgency.ROUTINE}
# After so many frames of one series in vain, each retried by the origin's adapter, the rest of it
# is left out: the archive is not asked for thousands of frames that it will not give.
_FAILURES_TOLERATED: Final = 3
_TICK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an order ended: its last report, and the error that stopped it, if one did."""

    report: WarmReport
    failure: NodeUnavailableError | None = None


@dataclass(frozen=True, slots=True)
class RunNeeds:
    """What every order of a node shares."""

    node: str
    store: Store
    pool: FetchPool
    retriever: Retriever
    clock: Clock
    report_every_s: float


class OrderRun:
    """One order; used by one thread, and once.

    Args:
        needs: what the node's orders share.
        order: when to give up, and how urgent it is.
        plan: what to warm.
        source: where from.
        tell: takes reports while it goes on.
        stop: set when the node stops.
    """

    def __init__(
        self,
        needs: RunNeeds,
        order: WarmOrder,
        plan: Plan,
        *,
        source: Source,
        tell: Callable[[WarmReport], None],
        stop: Event,
    ) -> None:
        self._needs = needs
        self._store = needs.store
        self._order = order
        self._plan = plan
        self._source = source
        self._tell = tell
        self._stop = stop
        self._tally = OrderTally(plan, node=needs.node)
        self._arrived: SimpleQueue[tuple[int, int, Ticket[Any]]] = SimpleQueue()
        self._pending: dict[tuple[int, int], Ticket[Any]] = {}
        self._lock = RLock()  # cancelling calls `_done` back in the same thread
        self._told_at: datetime | None = None

    def outcome(self) -> Outcome | None:
        """Carry the order out; None if the node stopped first."""
        failure: NodeUnavailableError | None = None
        try:
            self._store.want(self._plan, until_s=self._order.give_up_at.timestamp())
            with ExitStack() as stack:
                for series in self._tally.series:
                    pointer = series.planned.series
                    stack.enter_context(self._store.using(self._source.origin_id, pointer))
                stack.callback(self._cancel_pending)
                self._warm()
        except NodeUnavailableError as error:
            failure = error
            self._tally.note_unfinished(str(error))
        if self._stop.is_set() and self._tally.is_unfinished:
            return None
        return Outcome(self._tally.report(at=self._needs.clock(), final=True), failure)

    def _warm(self) -> None:
        self._ask_for_metadata()
        self._collect(self._take_metadata)
        self._count_what_is_held()
        self._report(now=True)
        self._ask_for_frames()
        self._collect(self._take_frame)
        if self._out_of_time and self._tally.is_unfinished:
            self._tally.note_unfinished(OUT_OF_TIME)
        self._prove_all()
        self._note_unchecked_pixels()

    def _ask_for_metadata(self) -> None:
        planned = [series.planned for series in self._tally.series]
        for at in series_order(planned):
            pointer = planned[at].series
            held = self._store.metadata(self._source.origin_id, pointer)
            if held is not None:
                self._tally.series[at].know(held)
                continue
            work = partial(self._needs.retriever.metadata, self._source, pointer)
            self._ask(at, 0, ("metadata", series_key(self._source.origin_id, pointer)), work)

    def _ask_for_frames(self) -> None:
        planned = [series.planned for series in self._tally.series]
        counts = [len(series.entries) for series in self._tally.series]
        for at, frame in frame_order(planned, counts):
            series, pointer = self._tally.series[at], planned[at].series
            entry = series.entries[frame]
            name = frame_name(entry)
            if name in series.verified:
                continue
            work = partial(self._needs.retriever.frame, self._source, pointer, entry)
            key = ("frame", series_key(self._source.origin_id, pointer), *name)
            self._ask(at, frame, key, work)

    def _ask(self, at: int, frame: int, key: tuple[Any, ...], work: Callable[[], Any]) -> None:
        if self._out_of_time or self._stop.is_set() or self._tally.series[at].left_out:
            return
        urgency = _URGENCY[self._order.priority]
        ticket = self._needs.pool.submit(key, work, urgency=urgency)
        with self._lock:
            self._pending[at, frame] = ticket
        ticket.future.add_done_callback(partial(self._done, at, frame, ticket))

    def _done(self, at: int, frame: int, ticket: Ticket[Any], future: "Future[Any]") -> None:
        """Runs in the fetching thread, so that it asks for nothing more of a series in trouble."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ORIGIN_ERRORS) and not isinstance(error, CorruptPayloadError):
            self._leave_out_after(at, error)
        self._arrived.put((at, frame, ticket))

    def _leave_out_after(self, at: int, error: PrefetchError) -> None:
        series = self._tally.series[at]
        with self._lock:
            series.failures += 1
            if isinstance(error, AccessDeniedError) or series.failures >= _FAILURES_TOLERATED:
                series.left_out = True
                self._cancel([place for place in self._pending if place[0] == at])

    def _cancel(self, places: Iterable[tuple[int, int]]) -> None:
        for place in places:
            if self._pending[place].future.cancel():
                del self._pending[place]

    def _collect(self, take: Callable[[int, int, Ticket[Any]], None]) -> None:
        while self._pending and not self._out_of_time and not self._stop.is_set():
            try:
                at, frame, ticket = self._arrived.get(timeout=_TICK_S)
            except Empty:
                pass
            else:
                if self._is_awaited(at, frame, ticket):
                    take(at, frame, ticket)
            self._report()
        self._cancel_pending()

    def _is_awaited(self, at: int, frame: int, ticket: Ticket[Any]) -> bool:
        with self._lock:
            if self._pending.get((at, frame)) is not ticket:
                return False
            del self._pending[at, frame]
        return not ticket.future.cancelled()

    def _take_metadata(self, at: int, _frame: int, ticket: Ticket[SeriesMetadata]) -> None:
        try:
            self._tally.series[at].know(ticket.future.result())
        except ORIGIN_ERRORS as error:
            self._tally.fail(at, "its metadata", words_of(error))

    def _take_frame(self, at: int, frame: int, ticket: Ticket[int]) -> None:
        try:
            fetched_bytes = ticket.future.result()
        except ORIGIN_ERRORS as error:
            self._tally.fail(at, f"frame {frame + 1}", words_of(error))
        else:
            self._tally.keep(at, frame, fetched_bytes, joined=ticket.joined)

    def _count_what_is_held(self) -> None:
        for series in self._tally.series:
            self._prove(series, {frame_name(entry) for entry in series.entries})

    def _prove_all(self) -> None:
        for series in self._tally.series:
            expected = set(series.stored)
            series.lose(expected - self._prove(series, expected))

    def _prove(self, series: SeriesTally, names: set[FrameName]) -> set[FrameName]:
        if not names:
            return set()
        origin_id, pointer = self._source.origin_id, series.planned.series
        try:
            self._store.commit(origin_id, pointer)
        except StudyNotFoundError:
            names = set()  # purged while it was written: nothing of it is held
        verified = self._store.verify(origin_id, pointer, frames=names)
        held = self._store.frames(origin_id, pointer)
        series.prove({name: held[name].length_bytes for name in verified if name in held})
        return verified

    def _note_unchecked_pixels(self) -> None:
        if not self._needs.retriever.verify_pixels:
            return
        unchecked = sum(
            not held[name].pixels_checked
            for series in self._tally.series
            for held in [self._store.frames(self._source.origin_id, series.planned.series)]
            for name in series.with_checksum & held.keys()
        )
        if unchecked:
            self._tally.note(f"the pixels of {unchecked} frames are not checked: not decoded here")

    def _report(self, *, now: bool = False) -> None:
        at = self._needs.clock()
        if not now and self._told_at is not None:
            waited_s = (at - self._told_at).total_seconds()
            if waited_s < self._needs.report_every_s:
                return
        for series in self._tally.series:
            self._prove(series, series.unproven)
        self._told_at = at
        self._tell(self._tally.report(at=at, final=False))

    def _cancel_pending(self) -> None:
        with self._lock:
            for ticket in self._pending.values():
                ticket.future.cancel()
            self._pending.clear()

    @property
    def _out_of_time(self) -> bool:
        return self._needs.clock() >= self._order.give_up_at
