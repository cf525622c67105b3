"""What a segment's file tells of itself: enough to hold it when the index has no row of it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from teleprefetch.dicom import DicomUid
from teleprefetch.edge.store.attributes import read_instances, series_attributes
from teleprefetch.edge.store.disk import disk_errors
from teleprefetch.edge.store.rows import (
    Entries,
    FrameName,
    HeldFrame,
    Piece,
    SeriesHead,
    SeriesRow,
    unpack,
)
from teleprefetch.edge.store.segments import ENTRIES, FRAME, Record, head_of, records_of
from teleprefetch.edge.store.store_files import Files
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError

_FRAME_NAME: Final = TypeAdapter(tuple[DicomUid, int, DicomUid, bool])


@dataclass(frozen=True, slots=True)
class Found:
    """A version of a series as its files tell it; the bytes of the frames are not proven."""

    row: SeriesRow
    frames: list[HeldFrame]


def dump_frame_name(frame: FrameName, transfer_syntax_uid: str, *, checked: bool) -> bytes:
    """The name of a frame's record: what the index knows of it beside lengths and digest."""
    return json.dumps((*frame, transfer_syntax_uid, checked), separators=(",", ":")).encode()


def head_in(path: Path) -> SeriesHead:
    """What a segment says that it is.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptPayloadError: it is no segment of this format, or is called something else.
    """
    try:
        head = SeriesHead.parse_json(head_of(path))
    except InvalidPayloadError:
        raise CorruptPayloadError("store: a segment's head is of another format") from None
    if head.segment != path.name:
        raise CorruptPayloadError("store: a segment's file has another's name")
    return head


def found_in(files: Files, name: str) -> Found:
    """What the files of that name hold.

    Raises:
        CorruptPayloadError: they are not whole, or not of this format.
    """
    path = files.segment(name)
    with disk_errors():
        try:
            head = head_in(path)
            records = list(records_of(path))
            packed = files.metadata(name).read_bytes()
        except FileNotFoundError:
            raise CorruptPayloadError("store: a file is missing") from None
    if not records or records[0].mark != ENTRIES:
        raise CorruptPayloadError("store: a segment has no frame list")
    if hashlib.sha256(packed).hexdigest() != head.metadata.sha256:
        raise CorruptPayloadError("store: metadata do not match their digest")
    instances = read_instances(unpack(packed))
    row = SeriesRow(
        **head.model_dump(),
        entries=_piece(records[0]),
        segment_bytes=records[-1].end_bytes,
        attributes=series_attributes(head.series, instances),
    )
    return Found(row=row, frames=list(frames_of(records)))


def entries_in(path: Path) -> Entries:
    """The frame list of a segment.

    Raises:
        CorruptPayloadError: there is none, or it is damaged.
    """
    record = next(records_of(path), None)
    if record is None or record.mark != ENTRIES:
        raise CorruptPayloadError("store: a segment has no frame list")
    packed = read_piece(path, _piece(record))
    return load_entries(packed)


def load_entries(packed: bytes) -> Entries:
    """A frame list; raises CorruptPayloadError."""
    try:
        return Entries.parse_json(unpack(packed))
    except InvalidPayloadError:
        raise CorruptPayloadError("store: a frame list is damaged") from None


def read_piece(path: Path, piece: Piece) -> bytes:
    """The bytes of a piece.

    Raises:
        CorruptPayloadError: they do not match the digest, or are not there.
        NodeUnavailableError: the disk cannot be read.
    """
    with disk_errors():
        try:
            with path.open("rb") as file:
                file.seek(piece.offset)
                content = file.read(piece.length_bytes)
        except FileNotFoundError:
            raise CorruptPayloadError("store: a file is missing") from None
    if hashlib.sha256(content).hexdigest() != piece.sha256:
        raise CorruptPayloadError("store: a piece does not match its digest")
    return content


def frames_of(records: list[Record]) -> Iterator[HeldFrame]:
    """The frames among records."""
    for record in records:
        if record.mark != FRAME:
            continue
        try:
            sop, number, transfer_syntax_uid, checked = _FRAME_NAME.validate_json(record.name)
        except ValidationError:
            continue  # written by something else; its bytes are never referred to
        yield HeldFrame(
            sop_instance_uid=sop,
            frame_number=number,
            offset=record.content.offset,
            length_bytes=record.content.length_bytes,
            transfer_syntax_uid=transfer_syntax_uid,
            sha256=record.content.sha256,
            pixels_checked=checked,
        )


def _piece(record: Record) -> Piece:
    content = record.content
    return Piece(offset=content.offset, length_bytes=content.length_bytes, sha256=content.sha256)
