"""Begins the files of a version of a series: its metadata, and a segment with its frame list."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from pydantic import JsonValue

from teleprefetch.edge.store.attributes import read_instances, series_attributes
from teleprefetch.edge.store.disk import sync_directory
from teleprefetch.edge.store.rows import Entries, Piece, SeriesHead, SeriesRow, lineage, pack
from teleprefetch.edge.store.segments import ENTRIES, Segment, record_bytes
from teleprefetch.edge.store.store_files import Files
from teleprefetch.model import SeriesMetadata

_HEAD_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Prepared:
    """A series' metadata in the forms that are stored: `packed` and `entries` are gzip."""

    metadata: SeriesMetadata
    packed: bytes
    entries: bytes
    instances: int
    attributes: dict[str, JsonValue]

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk, about."""
        return len(self.packed) + record_bytes(b"", self.entries) + _HEAD_BYTES


def prepared(metadata: SeriesMetadata) -> Prepared:
    """The forms that are stored of a series' metadata.

    Raises:
        CorruptPayloadError: it is not DICOM JSON, or another series'.
    """
    instances = read_instances(metadata.dicom_json)
    entries = Entries(frames=metadata.frames, without_frames=metadata.without_frames)
    return Prepared(
        metadata=metadata,
        packed=pack(metadata.dicom_json),
        entries=pack(entries.model_dump_json().encode()),
        instances=len(instances),
        attributes=series_attributes(metadata.series, instances),
    )


@contextmanager
def begun(
    files: Files, what: Prepared, *, origin_id: str, asked_at: float, stored_at: float
) -> Iterator[SeriesRow]:
    """The row of new files, synced, and locked so that nobody takes them for orphans.

    They are removed if the block does not end well.

    Raises:
        NodeUnavailableError: the disk refuses.
    """
    series = what.metadata.series
    name = f"{lineage(origin_id, series)[:16]}-{series.version_id}-{token_hex(8)}.seg"
    segment: Segment | None = None
    try:
        head = SeriesHead(
            origin_id=origin_id,
            series=series,
            segment=name,
            stored_at=stored_at,
            asked_at=asked_at,
            instances=what.instances,
            metadata=files.write_metadata(name, what.packed),
        )
        segment = Segment.begin(files.segment(name), head=head.model_dump_json().encode())
        written = segment.append(b"", what.entries, mark=ENTRIES)
        segment.sync()
        for directory in (files.metadata(name).parent, files.segments):
            sync_directory(directory)
        yield SeriesRow(
            **head.model_dump(),
            entries=Piece(
                offset=written.offset, length_bytes=written.length_bytes, sha256=written.sha256
            ),
            segment_bytes=segment.end_bytes,
            attributes=what.attributes,
        )
    except BaseException:
        files.remove(name)
        raise
    finally:
        if segment is not None:
            segment.close(keep_bytes=segment.end_bytes)
