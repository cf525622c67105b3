"""Takes frames over from a replaced version, where the archive's own words prove them the same.

HealthImaging does not promise that a frame's id stands for its bytes, so id and checksum of the
decoded pixels must both be equal; everything else is fetched.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.adopting import entries_in, frames_of, read_piece
from teleprefetch.edge.store.rows import FrameName, HeldFrame, Piece, frame_name
from teleprefetch.edge.store.segments import records_of
from teleprefetch.edge.store.writing import SeriesWriter
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry, SeriesMetadata

_LOG: Final = logging.getLogger(__name__)
_Content = tuple[str, int]


def carry_over(path: Path, metadata: SeriesMetadata, writer: SeriesWriter) -> int:
    """How many frames of a superseded segment were written to the next version's.

    Raises:
        NodeUnavailableError: there is no room, or the disk refuses.
        StudyNotFoundError: the next version was purged meanwhile.
    """
    try:
        same = list(_same(path, metadata))
    except (CorruptPayloadError, FileNotFoundError):
        _LOG.warning("store: a replaced version is damaged, and nothing is taken over from it")
        return 0
    carried = 0
    for held, entry in same:
        if writer.holds(held.name):
            continue
        try:
            content = read_piece(
                path, Piece(offset=held.offset, length_bytes=held.length_bytes, sha256=held.sha256)
            )
        except CorruptPayloadError:
            continue
        frame = Frame(content=content, transfer_syntax_uid=held.transfer_syntax_uid)
        writer.append(entry, frame, pixels_checked=held.pixels_checked)
        carried += 1
    return carried


def _same(path: Path, metadata: SeriesMetadata) -> Iterator[tuple[HeldFrame, FrameEntry]]:
    before = {frame_name(entry): _content(entry) for entry in entries_in(path).frames}
    held: dict[FrameName, HeldFrame] = {
        frame.name: frame for frame in frames_of(list(records_of(path)))
    }
    for entry in metadata.frames:
        name, content = frame_name(entry), _content(entry)
        if content is not None and before.get(name) == content and name in held:
            yield held[name], entry


def _content(entry: FrameEntry) -> _Content | None:
    if entry.image_frame_id is None or entry.crc32 is None:
        return None
    return (entry.image_frame_id, entry.crc32)
