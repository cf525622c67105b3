"""The index rows of the store, as sealed JSON text; nothing else is ever read back."""

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Final, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from teleprefetch.dicom import DicomUid
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError
from teleprefetch.model import FrameEntry, OriginId, Plan, Role, SeriesPointer, Slug, Value

FrameName = tuple[str, int]
_SEAL_LENGTH: Final = 16  # of hexadecimal digits
# Held metadata were parsed once on the way in, so a bigger one is damage or an attack.
_METADATA_LIMIT_BYTES: Final = 1 << 30
AnyRow = TypeVar("AnyRow", bound=Value)


def frame_name(entry: FrameEntry) -> FrameName:
    """What a frame is called within its series."""
    return (entry.sop_instance_uid, entry.frame_number)


@dataclass(frozen=True, slots=True)
class HeldFrame:
    """One frame in a segment; a length of 0 says that it was dropped after it was written.

    `pixels_checked` says that its decoded pixels matched the origin's checksum when it came.
    """

    sop_instance_uid: str
    frame_number: int
    offset: int
    length_bytes: int
    transfer_syntax_uid: str
    sha256: str
    pixels_checked: bool = False

    @property
    def name(self) -> FrameName:
        """What the frame is called within its series."""
        return (self.sop_instance_uid, self.frame_number)


class Piece(Value):
    """A range of a file, and the SHA-256 of its bytes in hexadecimal."""

    offset: int = Field(ge=0)
    length_bytes: int = Field(ge=0)
    sha256: str


class SeriesHead(Value):
    """What a version of a series is, and which file has it; a segment's file begins with it.

    `asked_at` is when the archive was asked for the metadata, in seconds since the epoch, and
    `metadata` is the content of the file beside the segment.
    """

    origin_id: OriginId
    series: SeriesPointer
    segment: str = Field(pattern=r"^[0-9a-f]{16}-[0-9]+-[0-9a-f]{16}\.seg$")
    stored_at: float
    asked_at: float
    instances: int
    metadata: Piece

    @property
    def key(self) -> str:
        """The name of this version in the index."""
        return series_key(self.origin_id, self.series)


class SeriesRow(SeriesHead):
    """One version of a series that the store holds.

    `groups` are the committed groups of frames, `segment_bytes` where the committed part of the
    segment file ends. `attributes` are the study's and the series' in DICOM JSON (PS3.18 F.2).
    """

    entries: Piece
    groups: int = Field(default=0, ge=0)
    segment_bytes: int = Field(ge=0)
    attributes: dict[str, JsonValue]

    @property
    def size_bytes(self) -> int:
        """What its committed frames and its metadata take on the disk."""
        return self.segment_bytes + self.metadata.length_bytes


class LineageRow(Value):
    """What was last known of a series in all its versions; it outlives them (a tombstone)."""

    highest_version: int = 0
    deleted: bool = False


class PlannedUse(Value):
    """What a plan wants of one series."""

    role: Role
    rank: int = Field(ge=0)


class PlanRow(Value):
    """A plan that this node carried out: ranks of studies, and series (by lineage) to keep.

    `until` is the order's deadline, `asked_at` when it came; in seconds since the epoch.
    """

    prefetch_id: Slug
    asked_at: float
    until: float
    ranks: dict[DicomUid, int]
    uses: dict[str, PlannedUse]

    @classmethod
    def of(cls, plan: Plan, *, asked_at: float, until: float) -> "PlanRow":
        """What there is to keep of a plan."""
        uses = {
            lineage(plan.origin_id, planned.series): PlannedUse(
                role=planned.role, rank=planned.rank
            )
            for planned in plan.series
        }
        ranks = {prior.study_instance_uid: prior.rank for prior in plan.priors}
        return cls(
            prefetch_id=plan.prefetch_id,
            asked_at=asked_at,
            until=until,
            ranks=ranks | {plan.study_instance_uid: 0},
            uses=uses,
        )


class Entries(Value):
    """The frames of a series by its metadata."""

    frames: tuple[FrameEntry, ...]
    without_frames: int = 0


_GROUP: Final = TypeAdapter(list[tuple[str, int, int, int, str, str, bool]])


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


def lineage_of(key: str) -> str:
    """The name that all versions share, of the name of one version."""
    return key.partition("/")[0]


@lru_cache(maxsize=4096)
def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def dump_row(row: Value) -> str:
    """The text of a row."""
    return sealed_text(row.model_dump_json())


def load_row(text: str, kind: type[AnyRow]) -> AnyRow:
    """A row of its text; raises CorruptPayloadError if the text is not what was written."""
    try:
        return kind.parse_json(unsealed_text(text))
    except InvalidPayloadError:
        raise CorruptPayloadError("store: a row is damaged") from None


def dump_group(frames: tuple[HeldFrame, ...]) -> str:
    """The row of one group of frames."""
    return sealed_text(
        json.dumps(
            [
                (
                    frame.sop_instance_uid,
                    frame.frame_number,
                    frame.offset,
                    frame.length_bytes,
                    frame.transfer_syntax_uid,
                    frame.sha256,
                    frame.pixels_checked,
                )
                for frame in frames
            ],
            separators=(",", ":"),
        )
    )


def load_group(text: str) -> list[HeldFrame]:
    """The frames of a group's row; raises CorruptPayloadError."""
    try:
        rows = _GROUP.validate_json(unsealed_text(text))
    except ValidationError:
        raise CorruptPayloadError("store: a group row is damaged") from None
    # Interned: a hundred thousand frames share a few transfer syntaxes and instances.
    return [HeldFrame(intern(row[0]), *row[1:4], intern(row[4]), *row[5:]) for row in rows]


def sealed_text(text: str) -> str:
    """A text behind a digest of it: one flipped bit on the disk must not change a row's meaning."""
    return _seal_of(text) + text


def unsealed_text(text: str) -> str:
    """The text behind a digest; raises CorruptPayloadError if it changed."""
    content = text[_SEAL_LENGTH:]
    if text[:_SEAL_LENGTH] != _seal_of(content):
        raise CorruptPayloadError("store: a row does not match its digest")
    return content


def _seal_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_SEAL_LENGTH]


def pack(content: bytes) -> bytes:
    """The content in gzip; the same for the same content."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def unpack(packed: bytes) -> bytes:
    """The content of gzip bytes; raises CorruptPayloadError."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(packed, _METADATA_LIMIT_BYTES)
    except zlib.error:
        raise CorruptPayloadError("store: a piece is not gzip") from None
    if not inflater.eof:
        raise CorruptPayloadError("store: a piece is cut short or too big")
    return content
