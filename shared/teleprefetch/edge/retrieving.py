"""Brings one series' metadata, or one frame, from an origin into the store, checked."""

import logging
from dataclasses import dataclass
from typing import Final

from teleprefetch.edge.pixels import check_marker, check_pixels
from teleprefetch.edge.rows import frame_name
from teleprefetch.edge.store import Store
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata, SeriesPointer
from teleprefetch.ports import Origin

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """An origin, and the id its bytes are kept under."""

    origin_id: str
    origin: Origin


class Retriever:
    """Fetches into the store; what arrives damaged is fetched once more.

    Args:
        store: where it goes.
        verify_pixels: decode frames and compare with the origin's checksums.
    """

    def __init__(self, store: Store, *, verify_pixels: bool) -> None:
        self._store = store
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
            _LOG.warning("metadata arrived damaged and are fetched once more")
            return self._fetch_metadata(source, series)

    def frame(self, source: Source, series: SeriesPointer, entry: FrameEntry) -> int:
        """How many bytes came over the wire for a frame; 0 if the store has it already.

        Raises as `metadata` does.
        """
        with self._store.writing(source.origin_id, series) as writer:
            if writer.holds(frame_name(entry)):
                return 0
            try:
                frame, checked = self._fetch_frame(source, series, entry)
            except CorruptPayloadError:
                _LOG.warning("a frame arrived damaged and is fetched once more")
                frame, checked = self._fetch_frame(source, series, entry)
            writer.append(entry, frame, pixels_checked=checked)
        return len(frame.content)

    def _fetch_metadata(self, source: Source, series: SeriesPointer) -> SeriesMetadata:
        metadata = source.origin.retrieve_series_metadata(series)
        self._store.put_metadata(source.origin_id, metadata)
        return metadata

    def _fetch_frame(
        self, source: Source, series: SeriesPointer, entry: FrameEntry
    ) -> tuple[Frame, bool]:
        frame = source.origin.retrieve_frame(series, entry)
        check_marker(frame)
        return frame, self.verify_pixels and check_pixels(entry, frame)
