"""Reads through to the archive for what a reader asks and the store does not hold.

A reader's fetch goes ahead of all warming, is made once however many ask, and is stored on the
way. An archive that fails gives its error, which is never kept: the next who asks has it asked
anew, unless it keeps failing. When the store cannot take what came, the bytes are answered as they
came.
"""

import logging
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Final, TypeVar

from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.edge.archives.breaker import Breaker
from teleprefetch.edge.archives.fetching import FetchPool, Ticket, Urgency
from teleprefetch.edge.archives.located import GuardedOrigin, Located, Locations
from teleprefetch.edge.archives.names import AsReader, Names, flight_of
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.holdings import StoredFrame
from teleprefetch.edge.store.rows import FrameName, SeriesRow, frame_name, pack, series_key
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import (
    CorruptPayloadError,
    NodeUnavailableError,
    OriginThrottledError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata
from teleprefetch.ports import Origin

READER_RETRIES: Final = RetryPolicy(attempts=3, longest_delay_s=1.0, give_up_after_s=3.0)
"""How a reader's reads are tried again: somebody waits."""
_LOG: Final = logging.getLogger(__name__)
_JOINED_AT_MOST_S: Final = 3.0
_STORE_LEFT_ALONE_S: Final = 5.0
T = TypeVar("T")


class ReadThrough:
    """Reads through; every method blocks, and is called from many threads.

    Args:
        store: what is held, and where it goes.
        pool: fetches.
        retriever: checks, and stores.
        origins: the archives by id, with retries that a reader can wait for.
        as_reader: gives archives that are asked in readers' names.
        wait_s: the longest that one answer is waited for.
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        store: Store,
        *,
        pool: FetchPool,
        retriever: Retriever,
        origins: Mapping[str, Origin],
        as_reader: AsReader = lambda _origin_id, _bearer: None,
        wait_s: float = 20.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._pool = pool
        self._retriever = retriever
        self._wait_s = wait_s
        self._monotonic_s = monotonic_s
        self._store_refused_until_s = -math.inf
        opened = partial(store.counters.add, "breaker_openings")
        self._breakers = {
            origin_id: Breaker(monotonic_s=monotonic_s, on_open=opened) for origin_id in origins
        }
        self._names = Names(as_reader, self._breakers)
        self._locations = Locations(
            store,
            {
                origin_id: Source(
                    origin_id, GuardedOrigin(partial(origins.__getitem__, origin_id), breaker)
                )
                for origin_id, breaker in self._breakers.items()
            },
            ask=self._answer,
            monotonic_s=monotonic_s,
        )

    def frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        *,
        bearer: str = "",
    ) -> list[StoredFrame]:
        """The frames in that order, proven; held from now on if the store can take them.

        Raises:
            StudyNotFoundError: the archive does not hold one of them.
            OriginUnavailableError: the archive does not answer, or not in time.
            OriginThrottledError: the archive asks to slow down.
            CorruptPayloadError: what it sends is damaged, twice.
            AccessDeniedError: it refuses the node.
        """
        names = [(sop_instance_uid, number) for number in frame_numbers]
        return self._freshly(
            study_instance_uid,
            lambda: self._frames(study_instance_uid, series_instance_uid, names, bearer),
        )

    def metadata(
        self, study_instance_uid: str, series_instance_uid: str, *, bearer: str = ""
    ) -> bytes:
        """The series' DICOM JSON in gzip; raises as `frames` does."""
        return self._freshly(
            study_instance_uid,
            lambda: self._packed(study_instance_uid, series_instance_uid, bearer),
        )

    def study(self, study_instance_uid: str, *, bearer: str = "") -> None:
        """Hold the metadata of every series of a study; raises as `frames` does.

        Raises:
            NodeUnavailableError: the store cannot take them.
        """
        self._freshly(study_instance_uid, lambda: self._hold_study(study_instance_uid, bearer))

    def retry_after_s(self, origin_id: str | None = None) -> int:
        """In how many whole seconds to ask again: of one archive, or of any; at least 1."""
        breakers = [
            breaker for name, breaker in self._breakers.items() if origin_id in {None, name}
        ]
        return max(1, *(math.ceil(breaker.retry_after_s) for breaker in breakers), 1)

    def _freshly(self, study_instance_uid: str, work: Callable[[], T]) -> T:
        """What `work` answers; if it finds nothing by what a search told earlier, searched anew."""
        try:
            return work()
        except StudyNotFoundError:
            if not self._locations.forget(study_instance_uid):
                raise
            return work()

    def _frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        names: list[FrameName],
        bearer: str,
    ) -> list[StoredFrame]:
        for found in self._locations.of_series(study_instance_uid, series_instance_uid):
            located = self._names.located(bearer, found)
            metadata = self._metadata_of(located)
            entries = {frame_name(entry): entry for entry in metadata.frames}
            if all(name in entries for name in names):
                return self._frames_of(located, [entries[name] for name in names])
        raise StudyNotFoundError("frame: the archive does not hold it")

    def _packed(self, study_instance_uid: str, series_instance_uid: str, bearer: str) -> bytes:
        found = self._locations.of_series(study_instance_uid, series_instance_uid)[0]
        return pack(self._metadata_of(self._names.located(bearer, found)).dicom_json)

    def _hold_study(self, study_instance_uid: str, bearer: str) -> None:
        for found in self._locations.of_study(study_instance_uid):
            self._metadata_of(self._names.located(bearer, found), must_hold=True)

    def _metadata_of(self, located: Located, *, must_hold: bool = False) -> SeriesMetadata:
        origin_id, series = located.source.origin_id, located.series
        held = self._store.metadata(origin_id, series)
        if held is not None:
            return held
        try:
            if must_hold or self._store_takes:
                work = partial(self._retriever.metadata, located.source, series)
                return self._answer(flight_of("metadata", located), work)
        except NodeUnavailableError as error:
            self._leave_store_alone(error)
            if must_hold:
                raise
        alone = partial(located.source.origin.retrieve_series_metadata, series)
        return self._answer(flight_of("metadata alone", located), alone)

    def _frames_of(self, located: Located, entries: Sequence[FrameEntry]) -> list[StoredFrame]:
        found = self._held(located, entries)
        missing = [entry for entry in entries if frame_name(entry) not in found]
        if missing and self._store_takes and self._row(located) is not None:
            try:
                self._fetch(located, missing)
            except NodeUnavailableError as error:
                self._leave_store_alone(error)
            found |= self._held(located, missing)
        passed = [entry for entry in entries if frame_name(entry) not in found]
        if passed:
            found |= self._passed_through(located, passed)
        return [found[frame_name(entry)] for entry in entries]

    @property
    def _store_takes(self) -> bool:
        return self._monotonic_s() >= self._store_refused_until_s

    def _leave_store_alone(self, error: NodeUnavailableError) -> None:
        """A reader does not wait for a full disk or a locked index again and again."""
        _LOG.warning("what a reader asked for is not stored: %s", error)
        self._store_refused_until_s = self._monotonic_s() + _STORE_LEFT_ALONE_S

    def _held(
        self, located: Located, entries: Sequence[FrameEntry]
    ) -> dict[FrameName, StoredFrame]:
        row = self._row(located)
        if row is None:
            return {}
        names = map(frame_name, entries)
        return {name: found for name in names if (found := self._store.frame(row, name))}

    def _row(self, located: Located) -> SeriesRow | None:
        rows = self._store.of_study(located.series.study_instance_uid)
        key = series_key(located.source.origin_id, located.series)
        return next((row for row in rows if row.key == key), None)

    def _fetch(self, located: Located, entries: Sequence[FrameEntry]) -> None:
        origin_id, series = located.source.origin_id, located.series
        flight = flight_of("frame", located)
        with self._store.using(origin_id, series):
            self._answers(
                {
                    (*flight, *frame_name(entry)): partial(
                        self._retriever.frame, located.source, series, entry, for_reader=True
                    )
                    for entry in entries
                }
            )
            self._store.commit(origin_id, series)
        self._store.counters.add("read_through_frames", len(entries))

    def _passed_through(
        self, located: Located, entries: Sequence[FrameEntry]
    ) -> dict[FrameName, StoredFrame]:
        """Frames from the archive that the store does not take, in memory."""
        source, series = located.source, located.series
        flight = flight_of("frame alone", located)
        answers: list[tuple[Frame, bool]] = self._answers(
            {
                (*flight, *frame_name(entry)): partial(
                    self._retriever.checked_frame, source, series, entry, for_reader=True
                )
                for entry in entries
            }
        )
        self._store.counters.add("passed_through_frames", len(entries))
        return {
            frame_name(entry): StoredFrame.in_memory(frame, series.version_id)
            for entry, (frame, _) in zip(entries, answers, strict=True)
        }

    def _answer(self, key: Hashable, work: Callable[[], T]) -> T:
        return self._answers({key: work})[0]

    def _answers(self, works: Mapping[Hashable, Callable[[], T]]) -> list[T]:
        ends_s = self._monotonic_s() + self._wait_s
        tickets = [
            (key, work, self._pool.submit(key, work, urgency=Urgency.READER))
            for key, work in works.items()
        ]
        try:
            return [self._result(key, work, ticket, ends_s) for key, work, ticket in tickets]
        except (OriginUnavailableError, OriginThrottledError, CorruptPayloadError) as error:
            self._store.counters.add("read_through_failures")
            self._store.counters.add("throttled_reads", isinstance(error, OriginThrottledError))
            raise
        except TimeoutError:
            self._store.counters.add("read_through_failures")
            raise OriginUnavailableError("archive: no answer in time") from None
        except CancelledError:
            raise OriginUnavailableError("node: stopping") from None
        finally:
            for _, _, ticket in tickets:
                ticket.future.cancel()

    def _result(self, key: Hashable, work: Callable[[], T], ticket: Ticket[T], ends_s: float) -> T:
        left_s = ends_s - self._monotonic_s()
        if not ticket.joined:
            return ticket.future.result(left_s)
        try:
            return ticket.future.result(min(left_s, _JOINED_AT_MOST_S))
        except TimeoutError:
            # It may be warming, which asks a throttling archive for minutes.
            own = self._pool.submit(("reader", key), work, urgency=Urgency.READER)
            return own.future.result(ends_s - self._monotonic_s())
