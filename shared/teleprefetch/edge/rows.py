"""The index rows of the store, as JSON text and sealed bytes; nothing else is ever read back."""

import gzip
import hashlib
import json
import zlib
from typing import Final

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from teleprefetch.dicom import DicomUid
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import FrameEntry, OriginId, SeriesPointer, Value

FrameName = tuple[str, int]
_DIGEST_BYTES: Final = 32
# Held metadata were parsed once on the way in, so a bigger one is damage or an attack.
_METADATA_LIMIT_BYTES: Final = 1 << 30


def frame_name(entry: FrameEntry) -> FrameName:
    """What a frame is called within its series."""
    return (entry.sop_instance_uid, entry.frame_number)


class HeldFrame(Value):
    """One frame in a segment; a length of 0 says that it was dropped after it was written.

    `pixels_checked` says that its decoded pixels matched the origin's checksum when it came.
    """

    sop_instance_uid: DicomUid
    frame_number: int = Field(ge=1)
    offset: int = Field(ge=0)
    length_bytes: int = Field(ge=0)
    transfer_syntax_uid: DicomUid
    sha256: str
    pixels_checked: bool = False

    @property
    def name(self) -> FrameName:
        """What the frame is called within its series."""
        return (self.sop_instance_uid, self.frame_number)


class SeriesRow(Value):
    """One version of a series that the store holds.

    `groups` are the committed groups of frames, `segment_bytes` where the committed part of the
    segment file ends. `attributes` are the study's and the series' in DICOM JSON (PS3.18 F.2).
    """

    origin_id: OriginId
    series: SeriesPointer
    segment: str
    stored_at: float
    groups: int = 0
    segment_bytes: int = 0
    instances: int = 0
    attributes: dict[str, JsonValue]

    @property
    def key(self) -> str:
        """The name of this version in the index."""
        return series_key(self.origin_id, self.series)


class LineageRow(Value):
    """What was last known of a series in all its versions; it outlives them (a tombstone)."""

    highest_version: int = 0
    deleted: bool = False


class Entries(Value):
    """The frames of a series by its metadata."""

    frames: tuple[FrameEntry, ...]
    without_frames: int = 0


_GROUP: Final = TypeAdapter(tuple[HeldFrame, ...])


def lineage(origin_id: str, series: SeriesPointer) -> str:
    """The name that all versions of a series share; a digest, for UIDs belong in no file name."""
    if series.image_set_id is not None:
        return image_set_lineage(origin_id, series.image_set_id)
    return _digest("series", origin_id, series.study_instance_uid, series.series_instance_uid)


def image_set_lineage(origin_id: str, image_set_id: str) -> str:
    """The same for an image set of HealthImaging."""
    return _digest("image set", origin_id, image_set_id)


def series_key(origin_id: str, series: SeriesPointer) -> str:
    """The name of one version of a series."""
    return f"{lineage(origin_id, series)}/{series.version_id}"


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def dump_group(frames: tuple[HeldFrame, ...]) -> str:
    """The row of one group of frames."""
    return _GROUP.dump_json(frames).decode()


def load_group(text: str) -> tuple[HeldFrame, ...]:
    """The frames of a group's row; raises CorruptPayloadError."""
    try:
        return _GROUP.validate_json(text)
    except ValidationError:
        raise CorruptPayloadError("store: a group row is damaged") from None


def seal(content: bytes) -> bytes:
    """The content in gzip, behind a SHA-256 of that."""
    packed = gzip.compress(content, compresslevel=6, mtime=0)
    return hashlib.sha256(packed).digest() + packed


def unseal(sealed: bytes) -> bytes:
    """The gzip bytes of a sealed content; raises CorruptPayloadError if they changed."""
    packed = sealed[_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != sealed[:_DIGEST_BYTES]:
        raise CorruptPayloadError("store: a sealed row does not match its digest")
    return packed


def unpack(packed: bytes) -> bytes:
    """The content of gzip bytes; raises CorruptPayloadError."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(packed, _METADATA_LIMIT_BYTES)
    except zlib.error:
        raise CorruptPayloadError("store: a sealed row is not gzip") from None
    if not inflater.eof:
        raise CorruptPayloadError("store: a sealed row is cut short or too big")
    return content
