"""Brings one series' metadata, or one frame, from an origin into the store, checked."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from teleprefetch.edge.archives.allocating import return_large_blocks
from teleprefetch.edge.archives.pacing import Pace
from teleprefetch.edge.archives.pixels import check_marker, check_pixels
from teleprefetch.edge.store.rows import frame_name
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata, SeriesPointer
from teleprefetch.ports import Origin

_LOG: Final = logging.getLogger(__name__)
_MOST_AT_ONCE_BYTES: Final = 128 << 20
# A frame that HealthImaging gives by itself is in memory as it came; one out of a multipart body is
# cut out of two copies of it. Its pixels, while it is checked, and what a decoder works in come
# beside it.
_COPIES_ALONE: Final = 1
_COPIES_IN_MULTIPART: Final = 3
_COPIES_TO_CHECK: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """An origin, and the id its bytes are kept under.

    `asker` is the digest of the token of the reader in whose name it is asked; empty: the node's.
    """

    origin_id: str
    origin: Origin
    asker: str = ""


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
        pace: is told how warming gets on.
    """

    def __init__(
        self,
        store: Store,
        *,
        verify_pixels: bool,
        memory_bytes: int = _MOST_AT_ONCE_BYTES,
        clock_s: Callable[[], float] = time.time,
        pace: Pace | None = None,
    ) -> None:
        return_large_blocks()
        self._store = store
        self._memory = {False: Memory(memory_bytes), True: Memory(memory_bytes // 2)}
        self._memory_to_check = {False: Memory(memory_bytes // 2), True: Memory(memory_bytes // 4)}
        self._clock_s = clock_s
        self._pace = pace
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
            with self._told(entry, for_reader=for_reader):
                with self._memory[for_reader].taken(_copies(entry) * entry.size_bytes):
                    frame, checked = self.checked_frame(
                        source, series, entry, for_reader=for_reader
                    )
                    writer.append(entry, frame, pixels_checked=checked, publishes=False)
                    length_bytes = len(frame.content)
                    del frame
                writer.publish_if_full()
                return length_bytes

    def checked_frame(
        self,
        source: Source,
        series: SeriesPointer,
        entry: FrameEntry,
        *,
        for_reader: bool = False,
    ) -> tuple[Frame, bool]:
        """A frame from the origin, and whether its pixels were compared; not stored.

        Raises:
            CorruptPayloadError: it arrived damaged twice.
            StudyNotFoundError: the origin does not hold it.
        """
        memory = self._memory_to_check[for_reader]
        try:
            return self._fetch_frame(source, series, entry, memory)
        except CorruptPayloadError:
            self._refetch("a frame")
            return self._fetch_frame(source, series, entry, memory)

    def _told(self, entry: FrameEntry, *, for_reader: bool) -> AbstractContextManager[None]:
        if for_reader or self._pace is None:
            return nullcontext()
        return self._pace.under_way(entry.size_bytes)

    def _refetch(self, what: str) -> None:
        self._store.counters.add("refetches")
        _LOG.warning("%s arrived damaged: fetched once more", what)

    def _fetch_metadata(self, source: Source, series: SeriesPointer) -> SeriesMetadata:
        asked_at_s = self._clock_s()
        metadata = source.origin.retrieve_series_metadata(series)
        self._store.put_metadata(source.origin_id, metadata, asked_at_s=asked_at_s)
        return metadata

    def _fetch_frame(
        self, source: Source, series: SeriesPointer, entry: FrameEntry, memory: Memory
    ) -> tuple[Frame, bool]:
        frame = source.origin.retrieve_frame(series, entry)
        check_marker(frame)
        if not self.verify_pixels or entry.crc32 is None:
            return frame, False
        with memory.taken(_COPIES_TO_CHECK * entry.size_bytes):
            return frame, check_pixels(entry, frame)


def _copies(entry: FrameEntry) -> int:
    return _COPIES_ALONE if entry.image_frame_id else _COPIES_IN_MULTIPART
