"""What one order has asked the pool for: metadata, then frames, a few ahead of what comes."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import RLock
from typing import Any, Final, NamedTuple

from teleprefetch.domain.scheduling import Lane, Operation, Turn, Urgency
from teleprefetch.domain.warming_order import FramesToAsk, Place, WarmingOrder
from teleprefetch.edge.archives.fetching import FetchPool, Ticket
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.rows import frame_name, series_key
from teleprefetch.edge.warming.tally import ORIGIN_ERRORS, SeriesTally
from teleprefetch.errors import AccessDeniedError, CorruptPayloadError, PrefetchError

METADATA: Final = -1
"""The place of a series' metadata among its frames."""
# After so many frames of one series in vain, each retried by the pool, the rest of it is left out:
# the archive is not asked for thousands of frames that it will not give.
_FAILURES_TOLERATED: Final = 3
# More than arrive while the order is proven and reported, and few enough that many orders under way
# take little memory.
_ASKED_AHEAD: Final = 512


class Arrived(NamedTuple):
    """An answer to take."""

    at: int
    frame: int
    ticket: Ticket[Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where all fetches of an order stand; `due_s` is on the pool's clock."""

    urgency: Urgency
    patient: str
    due_s: float


class Asking:
    """Asks for one order; used by its thread, while fetching threads hand answers over.

    Args:
        pool: fetches.
        retriever: what the pool's threads do.
        source: where from.
        series: the order's series, by position in the plan.
        standing: where its fetches stand.
    """

    def __init__(
        self,
        pool: FetchPool,
        retriever: Retriever,
        source: Source,
        *,
        series: list[SeriesTally],
        standing: Standing,
    ) -> None:
        self._pool = pool
        self._retriever = retriever
        self._source = source
        self._series = series
        self._standing = standing
        self._order = WarmingOrder([one.planned for one in series])
        self._to_ask = FramesToAsk()
        self._arrived: SimpleQueue[Arrived] = SimpleQueue()
        self._pending: dict[tuple[int, int], Ticket[Any]] = {}
        self._openings: set[tuple[int, int]] = set()
        self._lock = RLock()  # cancelling calls `_done` back in the same thread

    @property
    def is_opened(self) -> bool:
        """Whether everybody's openings go before whatever of it is still to come."""
        return not self._openings

    @property
    def is_waiting(self) -> bool:
        """Whether anything is still to come, or to be asked for."""
        return bool(self._pending or self._to_ask)

    def metadata_order(self) -> list[int]:
        """The positions of the series, in the order of their metadata."""
        return [place.at for place in self._order.metadata()]

    def metadata(self, unread: frozenset[int]) -> None:
        """Ask for the metadata of series."""
        origin_id = self._source.origin_id
        for place in self._order.metadata():
            if place.at in unread:
                pointer = self._series[place.at].planned.series
                key = ("metadata", series_key(origin_id, pointer))
                work = partial(self._retriever.metadata, self._source, pointer)
                turn = self._turn(place, Operation.METADATA, 0)
                self._openings.add((place.at, METADATA))
                self._ask((place.at, METADATA), key, work, turn)

    def frames(self, at: int) -> None:
        """Have the frames of a series asked for, except those that are proven."""
        series = self._series[at]
        places = [
            place
            for place in self._order.frames(at, len(series.entries))
            if frame_name(series.entries[place.frame]) not in series.verified
        ]
        self._openings.update((at, place.frame) for place in places if place.is_opening)
        self._to_ask.add(places)

    def refill(self, put_off: frozenset[int]) -> None:
        """Ask for the next frames.

        Args:
            put_off: series whose rest comes after what others need in time.
        """
        while self._to_ask and len(self._pending) < _ASKED_AHEAD:
            place = self._to_ask.take()
            self._frame(place, is_put_off=place.at in put_off)

    def next(self, timeout_s: float) -> Arrived | None:
        """The next answer that is still awaited; None if none comes in time."""
        try:
            arrived = self._arrived.get(timeout=timeout_s)
        except Empty:
            return None
        with self._lock:
            if self._pending.get((arrived.at, arrived.frame)) is not arrived.ticket:
                return None
            del self._pending[arrived.at, arrived.frame]
        self._openings.discard((arrived.at, arrived.frame))
        return None if arrived.ticket.future.cancelled() else arrived

    def cancel(self) -> None:
        """Give up all that has not come."""
        self._to_ask = FramesToAsk()
        with self._lock:
            for ticket in self._pending.values():
                ticket.future.cancel()
            self._pending.clear()

    def _frame(self, place: Place, *, is_put_off: bool) -> None:
        series, origin_id = self._series[place.at], self._source.origin_id
        entry, pointer = series.entries[place.frame], series.planned.series
        key = ("frame", series_key(origin_id, pointer), *frame_name(entry))
        work = partial(self._retriever.frame, self._source, pointer, entry)
        turn = self._turn(place, Operation.FRAME, entry.size_bytes)
        if is_put_off and turn.can_be_put_off and not place.is_opening:
            turn = turn.put_off()
        self._ask((place.at, place.frame), key, work, turn)

    def _turn(self, place: Place, operation: Operation, size_bytes: int) -> Turn:
        return Turn(
            urgency=self._standing.urgency,
            lane=Lane(self._source.origin_id, operation),
            patient=self._standing.patient,
            band=place.band,
            position=place.position,
            due_s=self._standing.due_s,
            size_bytes=size_bytes,
        )

    def _ask(
        self, place: tuple[int, int], key: tuple[Any, ...], work: Callable[[], Any], turn: Turn
    ) -> None:
        if self._series[place[0]].left_out:
            self._openings.discard(place)
            return
        ticket = self._pool.submit(key, work, urgency=turn.urgency, turn=turn)
        with self._lock:
            self._pending[place] = ticket
        ticket.future.add_done_callback(partial(self._done, place, ticket))

    def _done(self, place: tuple[int, int], ticket: Ticket[Any], future: "Future[Any]") -> None:
        """Runs in the fetching thread, so that it asks for nothing more of a series in trouble."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ORIGIN_ERRORS) and not isinstance(error, CorruptPayloadError):
            self._leave_out_after(place[0], error)
        self._arrived.put(Arrived(*place, ticket))

    def _leave_out_after(self, at: int, error: PrefetchError) -> None:
        series = self._series[at]
        with self._lock:
            series.failures += 1
            if isinstance(error, AccessDeniedError) or series.failures >= _FAILURES_TOLERATED:
                series.left_out = True
                self._cancel([place for place in self._pending if place[0] == at])

    def _cancel(self, places: Iterable[tuple[int, int]]) -> None:
        for place in places:
            if self._pending[place].future.cancel():
                del self._pending[place]
