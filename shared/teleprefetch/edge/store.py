"""The node's store: its holdings, the room they may take, and who writes them."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Final

from teleprefetch.edge.attributes import read_instances, series_attributes
from teleprefetch.edge.holdings import Holdings
from teleprefetch.edge.room import Room
from teleprefetch.edge.rows import Entries, SeriesRow, lineage, seal, series_key
from teleprefetch.edge.segments import Segment
from teleprefetch.edge.writing import Grouping, SeriesWriter
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.model import SeriesMetadata, SeriesPointer

_LOG: Final = logging.getLogger(__name__)
_GROUPING: Final = Grouping()


class Store(Holdings):
    """Holdings that are written to, below a limit; shared by threads.

    Args:
        path: the store's own directory; made private (0700).
        limit_bytes: how much it may take on the disk, segments and index together.
        grouping: how many frames, or how long, are synced together.
        clock_s: seconds since the epoch, for the order of eviction.
        monotonic_s: seconds of a clock that only goes forward.

    Raises:
        NodeUnavailableError: the directory or the index cannot be used.
    """

    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        *,
        grouping: Grouping = _GROUPING,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path)
        self._grouping = grouping
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._lock = threading.RLock()
        self._uses: Counter[str] = Counter()
        self._writers: dict[str, tuple[str, SeriesWriter]] = {}
        self._room = Room(limit_bytes, used_bytes=self.used_bytes, evict=self._evict_oldest)

    def close(self) -> None:
        """Publish what waits, and close."""
        with self._lock:
            for key in list(self._writers):
                self._finish(key)
        self._index.close()

    def used_bytes(self) -> int:
        """What the store takes on the disk: segments, and the index with its log."""
        unpublished = sum(writer.unpublished_bytes for _, writer in list(self._writers.values()))
        segments = self._index.segment_bytes + unpublished
        return segments + self._index.size_bytes() + self._ballast.size_bytes

    def put_metadata(self, origin_id: str, metadata: SeriesMetadata) -> None:
        """Hold a series' metadata; its older versions go.

        Raises:
            CorruptPayloadError: it is not DICOM JSON, or another series'.
            StudyNotFoundError: the series was deleted, or a newer version is known.
            NodeUnavailableError: there is no room.
        """
        series = metadata.series
        instances = read_instances(metadata.dicom_json)
        fresh = SeriesRow(
            origin_id=origin_id,
            series=series,
            segment=f"{lineage(origin_id, series)[:16]}-{series.version_id}-{token_hex(8)}.seg",
            stored_at=self._clock_s(),
            instances=len(instances),
            attributes=series_attributes(series, instances),
        )
        entries = Entries(frames=metadata.frames, without_frames=metadata.without_frames)
        sealed = {
            "metadata": seal(metadata.dicom_json),
            "entries": seal(entries.model_dump_json().encode()),
        }
        with self._room.reserved(sum(map(len, sealed.values()))):
            older = self._put(fresh, sealed)
        for row in older:
            self._unlink(row)

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

    def _writer(self, key: str) -> SeriesWriter:
        self._index.refresh()
        with self._lock:
            row = self._index.row(key)
            if row is None:
                raise StudyNotFoundError("series: not held, or purged")
            segment, writer = self._writers.get(key, ("", None))
            if writer is not None and segment == row.segment:
                return writer
            if writer is not None:
                writer.close()
            writer = self._open_writer(row)
            self._writers[key] = (row.segment, writer)
            return writer

    def _open_writer(self, row: SeriesRow) -> SeriesWriter:
        segment = Segment.open(
            self._segments / row.segment,
            key=row.key.encode(),
            committed_bytes=partial(self._committed_bytes, row),
        )
        return SeriesWriter(
            segment=segment,
            visible=partial(self.has, row.origin_id, row.series),
            publish=partial(self._publish, row),
            room=self._room.reserved,
            monotonic_s=self._monotonic_s,
            grouping=self._grouping,
        )

    def _committed_bytes(self, row: SeriesRow) -> int:
        stored = self._index.stored_row(row.key)
        if stored is None or stored.segment != row.segment:
            raise StudyNotFoundError("series: purged")
        return stored.segment_bytes

    def _finish(self, key: str) -> None:
        segment, writer = self._writers.pop(key, ("", None))
        if writer is None:
            return
        try:
            writer.commit()
        except StudyNotFoundError:
            # A purge won. Its file may have been made again by a writer that opened late.
            (self._segments / segment).unlink(missing_ok=True)
            _LOG.info("store: a series was purged while it was written")
        finally:
            writer.close()

    def _evict_oldest(self) -> bool:
        with self._lock:
            for row in self._index.rows():
                if row.key not in self._uses:
                    self._discard(row)
                    _LOG.info("store: the oldest unused series was evicted")
                    return True
        return False
