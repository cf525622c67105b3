"""The node's store: its holdings, the room they may take, and who writes them."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.beginning import begun, prepared
from teleprefetch.edge.store.carrying import carry_over
from teleprefetch.edge.store.evicting import Evictor
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.edge.store.replacing import Purged, Replacing
from teleprefetch.edge.store.room import Reservations, Room
from teleprefetch.edge.store.rows import HeldFrame, PlanRow, SeriesRow, lineage_of, series_key
from teleprefetch.edge.store.segments import Segment
from teleprefetch.edge.store.writing import Grouping, SeriesWriter
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError, StudyNotFoundError
from teleprefetch.model import Plan, SeriesMetadata, SeriesPointer

_LOG: Final = logging.getLogger(__name__)
_GROUPING: Final = Grouping()
_PLANS_KEPT: Final = 1000


class Store(Holdings):
    """Holdings that are written to, below a limit; shared by threads and processes.

    Args:
        path: the store's own directory; made private (0700).
        limit_bytes: how much it may take on the disk, all files together.
        grouping: how many frames, or how long, are synced together.
        clock_s: seconds since the epoch, for deadlines and the order of eviction.
        monotonic_s: seconds of a clock that only goes forward.
        patience_s: how long a change waits for other processes.

    Raises:
        NodeUnavailableError: the directory cannot be used.
    """

    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        *,
        grouping: Grouping = _GROUPING,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        patience_s: float = 5.0,
    ) -> None:
        super().__init__(path, patience_s=patience_s)
        self._grouping = grouping
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._lock = threading.RLock()
        self._uses: Counter[str] = Counter()
        self._writers: dict[str, tuple[str, SeriesWriter]] = {}
        self._replacing = Replacing(
            self._index,
            self._files,
            tombstones=self._tombstones,
            reconciler=self._reconciler,
            ballast=self._ballast,
            counters=self.counters,
        )
        self._evictor = Evictor(
            self._index,
            self._files,
            counters=self.counters,
            in_use=lambda key: key in self._uses,
            discard=self._discard,
            clock_s=clock_s,
        )
        self._reservations = Reservations(path / "reserved")
        self._room = Room(
            limit_bytes,
            reservations=self._reservations,
            held_bytes=self._held_bytes,
            unpublished_bytes=self._unpublished_bytes,
            evict=self._evictor.evict,
        )

    def close(self) -> None:
        """Publish what waits, and close; a second time does nothing."""
        if self._is_closed:
            return
        with self._lock:
            for key in list(self._writers):
                self._finish(key)
        self._reservations.close()
        super().close()

    def used_bytes(self) -> int:
        """What the store takes on the disk, without what other processes are about to publish."""
        return self._held_bytes() + self._unpublished_bytes()

    def put_metadata(
        self, origin_id: str, metadata: SeriesMetadata, *, asked_at_s: float | None = None
    ) -> None:
        """Hold a series' metadata; other versions go, and what is provably the same is taken over.

        Args:
            origin_id: the archive's.
            metadata: what it answered.
            asked_at_s: when it was asked, by `clock_s`; now, if not given. Of an archive that has
                no versions the answer that was asked for last is the newest.

        Raises:
            CorruptPayloadError: it is not DICOM JSON, or another series'.
            StudyNotFoundError: the series was deleted, or a newer version is known.
            NodeUnavailableError: there is no room.
        """
        asked_at = self._clock_s() if asked_at_s is None else asked_at_s
        what = prepared(metadata)
        self._refresh()
        if self._replacing.confirm(origin_id, what, asked_at=asked_at):
            return
        with (
            self._room.reserved(what.size_bytes),
            begun(
                self._files,
                what,
                origin_id=origin_id,
                asked_at=asked_at,
                stored_at=self._clock_s(),
            ) as fresh,
        ):
            row, older = self._replacing.put(fresh)
        if row.segment != fresh.segment:
            self._files.remove(fresh.segment)
        for one in older:
            self._files.supersede(one.segment)
        self._carry_over(row, metadata)

    def want(self, plan: Plan, *, until_s: float) -> None:
        """Remember what a plan wants: its series stay until they are read or the time is over.

        Raises:
            NodeUnavailableError: the index cannot be written.
        """
        fresh = PlanRow.of(plan, asked_at=self._clock_s(), until=until_s)
        self._refresh()
        plans = sorted(self._index.copy.plans.values(), key=lambda one: one.asked_at)
        with self._index.changing():
            self._index.put_plan(fresh)
            for old in plans[: max(0, len(plans) + 1 - _PLANS_KEPT)]:
                self._index.remove_plan(old.prefetch_id)

    def purge(self, origin_id: str, image_set_id: str, below_version: int | None = None) -> Purged:
        """Forget an image set, or its versions below one, for good; works on a full disk.

        Raises:
            NodeUnavailableError: it could not be written down, or something was found after it.
        """
        self._refresh()
        return self._replacing.purge(origin_id, image_set_id, below_version)

    @contextmanager
    def using(self, origin_id: str, series: SeriesPointer) -> Iterator[None]:
        """Keeps a series from eviction; when its last user leaves, its writer ends."""
        key = series_key(origin_id, series)
        with self._lock:
            self._uses[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uses[key] -= 1
                if not self._uses[key]:
                    del self._uses[key]
                    self._finish(key)

    @contextmanager
    def writing(self, origin_id: str, series: SeriesPointer) -> Iterator[SeriesWriter]:
        """The series' writer, shared with all who use the series now.

        Raises:
            StudyNotFoundError: the series' metadata is not held (any more).
            NodeUnavailableError: the disk refuses, or another process writes the series.
        """
        with self.using(origin_id, series):
            yield self._writer(series_key(origin_id, series))

    def commit(self, origin_id: str, series: SeriesPointer) -> None:
        """Publish what waits of a series; raises as `SeriesWriter.append` does."""
        with self._lock:
            _, writer = self._writers.get(series_key(origin_id, series), ("", None))
        if writer is not None:
            writer.commit()

    def _held_bytes(self) -> int:
        self._index.refresh()
        return (
            self._index.copy.segment_bytes
            + self._index.size_bytes()
            + self._ballast.size_bytes
            + self._files.superseded_bytes()
        )

    def _unpublished_bytes(self) -> int:
        return sum(writer.unpublished_bytes for _, writer in list(self._writers.values()))

    def _carry_over(self, row: SeriesRow, metadata: SeriesMetadata) -> None:
        name = lineage_of(row.key)
        paths = list(self._files.superseded(name))
        if not paths:
            return
        try:
            with self.writing(row.origin_id, row.series) as writer:
                carried = sum(carry_over(path, metadata, writer) for path in paths)
            self.counters.add("carried_over_frames", carried)
        except (NodeUnavailableError, StudyNotFoundError) as error:
            _LOG.warning("store: frames were not taken over: %s", error)
        self._files.remove_superseded(lineage=name)

    def _writer(self, key: str) -> SeriesWriter:
        self._refresh()
        with self._lock:
            row = self._index.copy.rows.get(key)
            if row is None:
                raise StudyNotFoundError("series: not held, or purged")
            segment, writer = self._writers.get(key, ("", None))
            if writer is not None and segment == row.segment:
                return writer
            if writer is not None:
                del self._writers[key]
                writer.close()
            writer = self._open_writer(row)
            self._writers[key] = (row.segment, writer)
            return writer

    def _open_writer(self, row: SeriesRow) -> SeriesWriter:
        path = self._files.segment(row.segment)
        if not path.exists():
            self._drop_series(row, CorruptPayloadError("store: a file is missing"))
            raise StudyNotFoundError("series: not held, or purged")
        return SeriesWriter(
            segment=Segment.open(path, committed_bytes=partial(self._committed_bytes, row)),
            visible=partial(self.has, row.origin_id, row.series),
            publish=partial(self._publish, row),
            prove=partial(self._read_back, row),
            appending=partial(self._proofs.appending, path),
            room=self._room.reserved,
            monotonic_s=self._monotonic_s,
            grouping=self._grouping,
        )

    def _committed_bytes(self, row: SeriesRow) -> int:
        self._index.refresh()
        current = self._index.copy.rows.get(row.key)
        if current is None or current.segment != row.segment:
            raise StudyNotFoundError("series: purged")
        return current.segment_bytes

    def _publish(self, row: SeriesRow, frames: tuple[HeldFrame, ...], end_bytes: int) -> None:
        self._ballast.dropped_if_needed(partial(self._add_group, row, frames, end_bytes))

    def _add_group(self, row: SeriesRow, frames: tuple[HeldFrame, ...], end_bytes: int) -> None:
        with self._index.changing():
            stored = self._index.stored_row(row.key)
            if stored is None or stored.segment != row.segment or self._is_gone(row):
                raise StudyNotFoundError("series: purged while it was written")
            self._index.add_group(stored, frames, end_bytes)

    def _read_back(self, row: SeriesRow, frames: tuple[HeldFrame, ...]) -> None:
        """Prove what was just written, while it is fetched on; nobody waits for it then."""
        if frames:
            self.verify(row.origin_id, row.series, frames=[frame.name for frame in frames])

    def _is_gone(self, row: SeriesRow) -> bool:
        return self._tombstones.covers(lineage_of(row.key), row.series.version_id)

    def _finish(self, key: str) -> None:
        segment, writer = self._writers.pop(key, ("", None))
        if writer is None:
            return
        try:
            writer.commit()
        except StudyNotFoundError:
            self._files.remove(segment)
            _LOG.info("store: a series was purged while it was written")
        finally:
            writer.close()
