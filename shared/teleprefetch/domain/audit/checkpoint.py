"""Checkpoints: "lane L had record n with hash h at time t", signed and kept elsewhere.

A chain proves that nothing inside it changed; that its end was not cut off, and that it was not
rewritten from some record on, only somebody else can say. Each checkpoint names the digest of the
one before, as CloudTrail's digest files do (AWS CloudTrail user guide, "CloudTrail digest file
structure").
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from teleprefetch.domain.audit.chain import Fault, Finding, Lane
from teleprefetch.domain.audit.entry import GENESIS, stamp
from teleprefetch.domain.audit.record import canonical_json
from teleprefetch.errors import InvalidPayloadError

IsSigned = Callable[[bytes, bytes], bool]
"""Tells whether a signature, the second, is one of the message, the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint; `number` counts from 1 in each lane, `previous` is the digest of the last."""

    node: str
    lane: str
    number: int
    previous: str
    seq: int
    hash: str
    at: str

    @property
    def message(self) -> bytes:
        """What is signed."""
        return canonical_json(asdict(self))

    @property
    def digest(self) -> str:
        """What the next checkpoint names."""
        return hashlib.sha256(self.message).hexdigest()

    @property
    def instant(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.at)

    def covers(self, until: datetime) -> bool:
        """True if it was made at that time or later."""
        return self.at >= stamp(until)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and its signature."""

    checkpoint: Checkpoint
    signature: bytes

    def dump(self) -> bytes:
        """The document that is kept."""
        signature = base64.b64encode(self.signature).decode()
        return canonical_json({"checkpoint": asdict(self.checkpoint), "signature": signature})

    @classmethod
    def load(cls, document: bytes) -> "SignedCheckpoint":
        """A checkpoint from its document; the signature is not checked.

        Raises:
            InvalidPayloadError: it is no such document.
        """
        try:
            read = orjson.loads(document)
            checkpoint = Checkpoint(**read["checkpoint"])
            datetime.fromisoformat(checkpoint.at)
            return cls(checkpoint, base64.b64decode(read["signature"], validate=True))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
            raise InvalidPayloadError("audit: not a checkpoint") from None


def check(
    lane: Lane, checkpoints: Iterable[SignedCheckpoint], *, is_signed: IsSigned
) -> tuple[Checkpoint, ...]:
    """The checkpoints of a lane that hold, in order; what contradicts them is noted in the lane."""
    ordered = sorted(checkpoints, key=lambda each: each.checkpoint.number)
    held: list[Checkpoint] = []
    for each in ordered:
        point = each.checkpoint
        if not is_signed(point.message, each.signature):
            _note(lane, Fault.CHECKPOINT, point, "its signature is not of the key that was given")
            continue
        _compare_with_previous(lane, point, held)
        _compare_with_log(lane, point)
        held.append(point)
    _check_beginning(lane, held)
    return tuple(held)


def _compare_with_previous(lane: Lane, point: Checkpoint, held: Sequence[Checkpoint]) -> None:
    number, digest = (held[-1].number, held[-1].digest) if held else (0, GENESIS)
    if point.number == number:
        _note(lane, Fault.FORKED, point, f"there are two checkpoints of number {number}")
    elif point.number > number + 1:
        _note(lane, Fault.CHECKPOINT, point, f"checkpoint {number + 1} is not there")
    elif point.previous != digest:
        _note(lane, Fault.CHECKPOINT, point, "it names another checkpoint as the one before")
    if held and point.seq < held[-1].seq:
        _note(lane, Fault.FORKED, point, "an earlier checkpoint has seen later records")


def _compare_with_log(lane: Lane, point: Checkpoint) -> None:
    last = lane.last.seq if lane.last is not None else 0
    if point.seq > last:
        words = f"records {last + 1} to {point.seq} were there"
        lane.findings.append(Finding(Fault.TAIL_CUT, lane.name, last + 1, _name(point), words))
    elif point.seq in lane.hashes and lane.hashes[point.seq] != point.hash:
        _note(lane, Fault.FORKED, point, "another record was there, or another before it")


def _check_beginning(lane: Lane, held: Sequence[Checkpoint]) -> None:
    if lane.first is None or lane.first.seq == 1:
        return
    before = lane.first.seq - 1
    if not any(point.seq == before and point.hash == lane.first.prev for point in held):
        words = f"records 1 to {before} are not there, and no checkpoint ends with them"
        lane.findings.append(Finding(Fault.BEHEADED, lane.name, lane.first.seq, "start", words))


def _note(lane: Lane, fault: Fault, point: Checkpoint, words: str) -> None:
    lane.findings.append(Finding(fault, lane.name, point.seq, _name(point), words))


def _name(point: Checkpoint) -> str:
    return f"checkpoint {point.number}"
