"""Reads a node's audit back: to verify it, and to answer questions."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from teleprefetch.domain.audit.chain import Finding, Lane
from teleprefetch.domain.audit.checkpoint import Checkpoint, IsSigned, SignedCheckpoint, check
from teleprefetch.domain.audit.completeness import Proof, Span, missing_lanes, prove
from teleprefetch.domain.audit.entry import Entry, read_line
from teleprefetch.edge.audit.tail import segments_of
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, StudyNotFoundError

Checkpoints = Mapping[str, Sequence[SignedCheckpoint]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification came to; `proof` only if a span was asked for."""

    node: str
    lanes: tuple[Lane, ...]
    findings: tuple[Finding, ...]
    checkpoints: Mapping[str, tuple[Checkpoint, ...]]
    proof: Proof | None = None

    @property
    def is_sound(self) -> bool:
        """True if nothing is wrong, and complete if that was asked."""
        return not self.findings and (self.proof is None or self.proof.is_complete)

    @property
    def records(self) -> int:
        """How many records there are."""
        return sum(
            lane.last.seq - lane.first.seq + 1 for lane in self.lanes if lane.first and lane.last
        )


def lane_folders(folder: Path) -> tuple[Path, ...]:
    """The folders of the lanes in a node's audit folder.

    Raises:
        StudyNotFoundError: there is none.
    """
    found = tuple(sorted(path for path in folder.glob("*/") if segments_of(path)))
    if not found:
        raise StudyNotFoundError("audit: no lane in this folder")
    return found


def node_of(folder: Path) -> str:
    """The node whose audit this is, by the first record that can be read.

    Raises:
        CorruptPayloadError: none can be.
    """
    for path in lane_folders(folder):
        for line, _where, _is_whole in lines_of(path):
            try:
                return read_line(line).node
            except InvalidPayloadError:
                continue
    raise CorruptPayloadError("audit: no record can be read")


def lines_of(lane: Path) -> Iterator[tuple[bytes, str, bool]]:
    """Each line of a lane in order, where it is, and whether it has an end."""
    for segment in segments_of(lane):
        with segment.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{lane.name}/{segment.name}:{number}"
                is_whole = line.endswith(b"\n")
                text = line[:-1] if is_whole else line.rstrip(b"\0")  # zeros are room for records
                if is_whole or text:
                    yield text, where, is_whole


def verify(
    folder: Path,
    *,
    checkpoints: Checkpoints,
    is_signed: IsSigned | None,
    span: Span | None = None,
) -> Verdict:
    """Read every lane to its end and compare it with its checkpoints.

    Args:
        folder: a node's audit, or a copy.
        checkpoints: of each lane, from where the node cannot change them.
        is_signed: checks their signatures; None if there is no key, and then they are not used.
        span: a time to prove complete.
    """
    node = node_of(folder)
    lanes: list[Lane] = []
    held: dict[str, tuple[Checkpoint, ...]] = {}
    for path in lane_folders(folder):
        signed = checkpoints.get(path.name, ()) if is_signed is not None else ()
        lane = Lane(node, path.name, frozenset(each.checkpoint.seq for each in signed))
        for line, where, is_whole in lines_of(path):
            lane.feed(line, where, is_whole=is_whole)
        held[lane.name] = check(lane, signed, is_signed=is_signed or _nobody)
        lanes.append(lane)
    known = checkpoints if is_signed is not None else {}
    findings = [finding for lane in lanes for finding in lane.findings]
    findings += missing_lanes(lanes, known)
    proof = None
    if span is not None:
        proof = prove(lanes, {**dict.fromkeys(known, ()), **held}, span)
    return Verdict(node, tuple(lanes), tuple(findings), held, proof)


def entries(folder: Path) -> Iterator[Entry]:
    """All entries of all lanes in the order of their times; what cannot be read is passed over."""
    streams = [_entries_of(path) for path in lane_folders(folder)]
    return heapq.merge(*streams, key=lambda entry: (entry.at, entry.lane, entry.seq))


def _entries_of(lane: Path) -> Iterator[Entry]:
    for line, _where, _is_whole in lines_of(lane):
        try:
            yield read_line(line)
        except InvalidPayloadError:
            continue


def _nobody(_message: bytes, _signature: bytes) -> bool:
    return False
