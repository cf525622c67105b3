"""How a lane was left: where its chain stands, and what a crash or a hand did to its end."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.entry import GENESIS, Entry, read_line
from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.errors import InvalidPayloadError

_SEGMENTS: Final = "*.jsonl"


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a lane.

    `append_to` is the segment to go on with, up to `length_bytes`; None: begin a new one.
    `torn_bytes` were after the last whole record and nothing followed them: a write that a crash
    cut off, which nobody was told is durable. `damaged_line` is the number of a line that is wrong
    in the midst of the last segment; such a segment is left as evidence.
    """

    seq: int = 0
    head: str = GENESIS
    append_to: Path | None = None
    length_bytes: int = 0
    torn_bytes: int = 0
    torn_sha256: str = ""
    damaged_segment: str = ""
    damaged_line: int = 0


def opening_records(tail: Tail) -> Sequence[AuditRecord]:
    """What a lane says when it is opened, and how it was found."""
    started = AuditRecord(kind="started", detail={"process": os.getpid()})
    detail: dict[str, str | int]
    if tail.damaged_line:
        detail = {"segment": tail.damaged_segment, "line": tail.damaged_line}
        return (AuditRecord(kind="recovered", reason="a damaged line", detail=detail), started)
    if tail.torn_bytes:
        detail = {"bytes": tail.torn_bytes, "sha256": tail.torn_sha256}
        return (AuditRecord(kind="recovered", reason="a torn end", detail=detail), started)
    return (started,)


def segments_of(lane: Path) -> list[Path]:
    """The segments of a lane, in order; their names are the numbers of their first records."""
    return sorted(lane.glob(_SEGMENTS))


def read_tail(path: Path, *, node: str, lane: str) -> Tail:
    """The end of the lane in a folder.

    Raises:
        OSError: it cannot be read.
    """
    for segment in reversed(segments_of(path)):
        tail = _tail_of(segment, node=node, lane=lane)
        if tail is not None:
            return tail
        # nothing whole in it: a crash came right after the rotation
    return Tail()


def _tail_of(segment: Path, *, node: str, lane: str) -> Tail | None:
    content = segment.read_bytes()
    last: Entry | None = None
    offset = number = 0
    while (end := content.find(b"\n", offset)) >= 0:
        entry = _next(content[offset:end], last, (node, lane))
        if entry is None:
            break
        last, offset, number = entry, end + 1, number + 1
    rest = content[offset:].rstrip(b"\0")  # zeros are room for records
    if (later := _last_readable(rest)) is not None:
        return Tail(
            seq=max(later.seq, last.seq if last is not None else 0),
            head=later.hash,
            damaged_segment=segment.name,
            damaged_line=number + 1,
        )
    if last is None and not rest:
        return None
    return Tail(
        seq=last.seq if last is not None else int(segment.stem) - 1,
        head=last.hash if last is not None else _head_before(segment),
        append_to=segment,
        length_bytes=offset,
        torn_bytes=len(rest),
        torn_sha256=hashlib.sha256(rest).hexdigest() if rest else "",
    )


def _next(line: bytes, last: Entry | None, of: tuple[str, str]) -> Entry | None:
    """The entry, if it is whole and follows the last one."""
    try:
        entry = read_line(line)
    except InvalidPayloadError:
        return None
    follows = last is None or (entry.prev == last.hash and entry.seq == last.seq + 1)
    return entry if follows and entry.is_intact and (entry.node, entry.lane) == of else None


def _last_readable(content: bytes) -> Entry | None:
    """The last whole record in what follows a bad line, if there is one."""
    for line in reversed(content.split(b"\n")[:-1]):
        try:
            return read_line(line)
        except InvalidPayloadError:
            continue
    return None


def _head_before(segment: Path) -> str:
    """The hash of the last record of the segment before."""
    earlier = [path for path in segments_of(segment.parent) if path.name < segment.name]
    if not earlier:
        return GENESIS
    entry = _last_readable(earlier[-1].read_bytes())
    return entry.hash if entry is not None else GENESIS
