"""One warm order under way: metadata of all, frames as soon as they are known, proven as they come.

Times are measured on a clock that only goes forward: what the order says of the time of day is
turned into a number of seconds once, when it begins.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Final

from teleprefetch.domain.lateness import Forecast, too_late
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.asking import METADATA, Arrived, Asking, Standing
from teleprefetch.edge.warming.order_trace import Traced, Untraced
from teleprefetch.edge.warming.proving import Proving
from teleprefetch.edge.warming.slots import URGENCY
from teleprefetch.edge.warming.tally import (
    ORIGIN_ERRORS,
    OUT_OF_TIME,
    PUT_OFF,
    YIELDED,
    OrderTally,
    SeriesTally,
    words_of,
)
from teleprefetch.edge.warming.traffic import Traffic
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Plan, SeriesMetadata, WarmOrder, WarmReport
from teleprefetch.ports import Clock

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
    monotonic_s: Callable[[], float]
    traffic: Traffic
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
        waiting: how many orders wait until others end.
        is_in_vain: whether nothing is fetched, but only counted and told.
        left_out: the series that are not warmed, by position in the plan, and why.
        trace: takes down what is fetched.
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
        waiting: Callable[[], int] = lambda: 0,
        is_in_vain: bool = False,
        left_out: Mapping[int, str] | None = None,
        trace: Traced | None = None,
    ) -> None:
        self._needs = needs
        self._order = order
        self._plan = plan
        self._source = source
        self._tell = tell
        self._stop = stop
        self._waiting = waiting
        self._is_in_vain = is_in_vain
        self._trace = trace or Untraced()
        self._began_at, self._began_s = needs.clock(), needs.monotonic_s()
        self._ends_s = self._seconds_of(order.give_up_at)
        self._due_s = min(self._ends_s, self._seconds_of(order.due_at or order.give_up_at))
        self._tally = OrderTally(plan, node=needs.node, left_out=left_out or {})
        self._proving = Proving(needs.store, source.origin_id, self._tally)
        self._asking = Asking(
            needs.pool,
            needs.retriever,
            source,
            series=self._tally.series,
            standing=Standing(URGENCY[order.priority], plan.study_instance_uid, self._due_s),
        )
        self._unread: set[int] = set()
        self._put_off: frozenset[int] = frozenset()
        self._is_all_late = False
        self._stage = 0
        self._told_s: float | None = None

    @property
    def series(self) -> list[SeriesTally]:
        """The series of the order, and what of each is proven."""
        return self._tally.series

    def outcome(self) -> Outcome | None:
        """Carry the order out; None if the node stopped first."""
        failure: NodeUnavailableError | None = None
        store = self._needs.store
        try:
            store.want(self._plan, until_s=self._order.give_up_at.timestamp())
            with ExitStack() as stack:
                for series in self._tally.series:
                    pointer = series.planned.series
                    stack.enter_context(store.using(self._source.origin_id, pointer))
                stack.callback(self._asking.cancel)
                stack.enter_context(self._needs.traffic.order())
                self._warm()
        except NodeUnavailableError as error:
            failure = error
            self._tally.note_unfinished(str(error))
        if self._stop.is_set() and self._tally.is_unfinished:
            return None
        return Outcome(self._tally.report(at=self._now(), final=True), failure)

    def _warm(self) -> None:
        self._read_metadata()
        while self._asking.is_waiting and not self._is_over:
            self._asking.refill(self._put_off)
            arrived = self._asking.next(_TICK_S)
            self._report(now=arrived is not None and self._take(arrived))
        self._asking.cancel()
        self._say_why_it_ends()
        self._proving.all()
        if self._needs.retriever.verify_pixels:
            self._proving.note_unchecked_pixels()

    def _read_metadata(self) -> None:
        """Take what is held, and ask for the rest, unless there is no time."""
        unread: set[int] = set()
        for at in self._asking.metadata_order():
            series = self._tally.series[at]
            held = self._needs.store.metadata(self._source.origin_id, series.planned.series)
            if held is not None:
                self._know(at, held)
            elif not series.left_out:
                unread.add(at)
        if not self._is_over:
            self._unread = unread
            self._trace.asked(METADATA, len(unread))
            self._asking.metadata(frozenset(unread))
        if not unread:
            self._report(now=True)

    def _know(self, at: int, metadata: SeriesMetadata) -> None:
        series = self._tally.series[at]
        series.know(metadata)
        self._proving.held(series)
        self._trace.asked(at, len(series.entries) - len(series.verified))
        self._asking.frames(at)

    def _take(self, arrived: Arrived) -> bool:
        """Take an answer; whether it is worth a report at once."""
        if arrived.frame == METADATA:
            return self._take_metadata(arrived)
        at, frame, ticket = arrived
        try:
            fetched_bytes = ticket.future.result()
        except ORIGIN_ERRORS as error:
            self._tally.fail(at, f"frame {frame + 1}", words_of(error))
            self._trace.came(at, is_failed=True)
            return False
        self._tally.keep(at, frame, fetched_bytes, joined=ticket.joined)
        self._trace.came(at, fetched_bytes=0 if ticket.joined else fetched_bytes)
        if fetched_bytes and not ticket.joined:
            self._needs.traffic.came(fetched_bytes)
        stage, self._stage = self._stage, self._tally.stage()
        return self._stage > stage

    def _take_metadata(self, arrived: Arrived) -> bool:
        self._unread.discard(arrived.at)
        future = arrived.ticket.future
        self._trace.came(METADATA, is_failed=future.exception() is not None)
        self._tally.series[arrived.at].metadata_reads += not arrived.ticket.joined
        try:
            self._know(arrived.at, future.result())
        except ORIGIN_ERRORS as error:
            self._tally.fail(arrived.at, "its metadata", words_of(error))
        return not self._unread

    def _report(self, *, now: bool = False) -> None:
        at_s = self._needs.monotonic_s()
        is_due = self._told_s is None or at_s - self._told_s >= self._needs.report_every_s
        if not now and not is_due:
            return
        self._proving.new()
        self._forecast(at_s)
        self._told_s = at_s
        self._tell(self._tally.report(at=self._now(), final=False))

    def _forecast(self, at_s: float) -> None:
        rate = self._needs.traffic.share_bytes_per_s(self._waiting())
        if rate is None:
            return
        left = self._tally.left()
        forecast = Forecast(sum(one.left_bytes for one in left), rate, self._due_s - at_s)
        self._put_off = too_late(left, forecast.fitting_bytes)
        is_late = self._put_off.issuperset(one.at for one in left if one.left_bytes)
        self._is_all_late = is_late and self._asking.is_opened
        self._tally.forecast = forecast.words(len(self._put_off))

    def _say_why_it_ends(self) -> None:
        if not self._tally.is_unfinished or self._stop.is_set():
            return
        if self._is_over:
            self._tally.give_reason(self._put_off, PUT_OFF)
            self._tally.note_unfinished(OUT_OF_TIME if self._out_of_time else YIELDED)

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or self._out_of_time or self._yields

    @property
    def _out_of_time(self) -> bool:
        return self._needs.monotonic_s() >= self._ends_s

    @property
    def _yields(self) -> bool:
        """Whether nothing of it can be in time any more, and other orders wait for its place."""
        if self._is_in_vain or self._order.priority == "stat":
            return self._is_in_vain
        is_late = self._is_all_late or self._needs.monotonic_s() >= self._due_s
        return is_late and self._waiting() > 0

    def _seconds_of(self, moment: datetime) -> float:
        return self._began_s + (moment - self._began_at).total_seconds()

    def _now(self) -> datetime:
        """The time of day, which never goes back during the order."""
        return self._began_at + timedelta(seconds=self._needs.monotonic_s() - self._began_s)
