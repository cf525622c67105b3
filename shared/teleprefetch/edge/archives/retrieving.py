"""Brings one series' metadata, or one frame, from an origin into the store, checked."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from teleprefetch.edge.archives.allocating import return_large_blocks
from teleprefetch.edge.archives.pixels import check_marker, check_pixels
from teleprefetch.edge.store.rows import frame_name
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata, SeriesPointer
from teleprefetch.ports import Origin

_LOG: Final = logging.getLogger(__name__)
_MOST_AT_ONCE_BYTES: Final = 128 << 20
# A frame is in memory as it came, and decoded, and a decoder works beside it.
_COPIES: Final = 3


@dataclass(frozen=True, slots=True)
class Source:
    """An origin, and the id its bytes are kept under."""

    origin_id: str
    origin: Origin


class Memory:
    """Lets frames in as far as there is memory for them; one alone always."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Memory for a frame, as soon as there is some."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._taken_bytes or self._taken_bytes + size_bytes <= self._limit_bytes
            )
            self._taken_bytes += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken_bytes -= size_bytes
                self._changed.notify_all()


class Retriever:
    """Fetches into the store; what arrives damaged is fetched once more.

    Args:
        store: where it goes.
        verify_pixels: decode frames and compare with the origin's checksums.
        memory_bytes: how much memory the frames in flight may take, about.
        clock_s: seconds since the epoch, for when an archive was asked.
    """

    def __init__(
        self,
        store: Store,
        *,
        verify_pixels: bool,
        memory_bytes: int = _MOST_AT_ONCE_BYTES,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        return_large_blocks()
        self._store = store
        self._memory = {False: Memory(memory_bytes), True: Memory(memory_bytes // 2)}
        self._clock_s = clock_s
        self.verify_pixels = verify_pixels

    def metadata(self, source: Source, series: SeriesPointer) -> SeriesMetadata:
        """A series' metadata, from the store or else from the origin.

        Raises:
            CorruptPayloadError: it arrived damaged twice.
            StudyNotFoundError: the origin does not hold it, or the store may not.
            NodeUnavailableError: the store cannot take it.
        """
        held = self._store.metadata(source.origin_id, series)
        if held is not None:
            return held
        try:
            return self._fetch_metadata(source, series)
        except CorruptPayloadError:
            self._refetch("metadata")
            return self._fetch_metadata(source, series)

    def frame(
        self,
        source: Source,
        series: SeriesPointer,
        entry: FrameEntry,
        *,
        for_reader: bool = False,
    ) -> int:
        """How many bytes came over the wire for a frame; 0 if the store has it already.

        A reader's frame waits for no memory that warming has taken. Raises as `metadata` does.
        """
        with self._store.writing(source.origin_id, series) as writer:
            if writer.holds(frame_name(entry)):
                return 0
            with self._memory[for_reader].taken(_COPIES * entry.size_bytes):
                frame, checked = self.checked_frame(source, series, entry)
                writer.append(entry, frame, pixels_checked=checked)
                return len(frame.content)

    def checked_frame(
        self, source: Source, series: SeriesPointer, entry: FrameEntry
    ) -> tuple[Frame, bool]:
        """A frame from the origin, and whether its pixels were compared; not stored.

        Raises:
            CorruptPayloadError: it arrived damaged twice.
            StudyNotFoundError: the origin does not hold it.
        """
        try:
            return self._fetch_frame(source, series, entry)
        except CorruptPayloadError:
            self._refetch("a frame")
            return self._fetch_frame(source, series, entry)

    def _refetch(self, what: str) -> None:
        self._store.counters.add("refetches")
        _LOG.warning("%s arrived damaged: fetched once more", what)

    def _fetch_metadata(self, source: Source, series: SeriesPointer) -> SeriesMetadata:
        asked_at_s = self._clock_s()
        metadata = source.origin.retrieve_series_metadata(series)
        self._store.put_metadata(source.origin_id, metadata, asked_at_s=asked_at_s)
        return metadata

    def _fetch_frame(
        self, source: Source, series: SeriesPointer, entry: FrameEntry
    ) -> tuple[Frame, bool]:
        frame = source.origin.retrieve_frame(series, entry)
        check_marker(frame)
        return frame, self.verify_pixels and check_pixels(entry, frame)
