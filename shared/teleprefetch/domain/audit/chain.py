"""Whether a lane is what was written: each line is checked, and the first bad one has a name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from teleprefetch.domain.audit.entry import GENESIS, Entry, read_line
from teleprefetch.errors import InvalidPayloadError


class Fault(StrEnum):
    """What may be wrong with a log."""

    UNREADABLE = "unreadable"  # the line is no record at all
    TORN = "torn"  # the last line ends early, as after a crash
    EDITED = "edited"  # the hash is not that of the record
    REWRITTEN = "rewritten"  # the next record was chained to another
    MISSING = "missing"  # numbers are left out
    REPEATED = "repeated"  # a number is there again, or out of order
    FOREIGN = "foreign"  # of another node or lane, or in the wrong file
    BEHEADED = "beheaded"  # it does not begin at 1, and no checkpoint vouches for where it does
    TAIL_CUT = "tail cut"  # a checkpoint has seen more
    FORKED = "forked"  # a checkpoint has seen another record in this place
    CHECKPOINT = "checkpoint"  # a checkpoint is not signed, missing or contradicts another
    LANE_MISSING = "lane missing"  # checkpoints speak of a lane that is not here


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where; `seq` is the first record that it concerns."""

    fault: Fault
    lane: str
    seq: int
    where: str
    words: str

    def __str__(self) -> str:
        return f"lane {self.lane}, record {self.seq} ({self.where}): {self.fault}: {self.words}"


@dataclass(slots=True)
class Lane:
    """A lane while it is read: what came, and what is wrong with it.

    `hashes` are those of the records whose numbers are `wanted`, for checkpoints to be compared
    with; `gaps` are the records that say that others could not be written.
    """

    node: str
    name: str
    wanted: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)
    first: Entry | None = None
    last: Entry | None = None
    gaps: list[Entry] = field(default_factory=list)
    clock_went_back: list[int] = field(default_factory=list)
    where_last: str = ""

    def feed(self, line: bytes, where: str, *, is_whole: bool = True) -> Entry | None:
        """The entry of the next line, if it is one; what is wrong is noted.

        Args:
            line: without its newline.
            where: file and line number.
            is_whole: False if the file ends without a newline.
        """
        try:
            entry = read_line(line)
        except InvalidPayloadError as error:
            fault = Fault.UNREADABLE if is_whole else Fault.TORN
            self._note(fault, self._expected, where, str(error))
            return None
        if not is_whole:
            self._note(Fault.TORN, entry.seq, where, "the line has no end")
        self._place(entry, where)
        return entry

    @property
    def _expected(self) -> int:
        return self.last.seq + 1 if self.last is not None else 1

    def _place(self, entry: Entry, where: str) -> None:
        if (entry.node, entry.lane) != (self.node, self.name):
            self._note(Fault.FOREIGN, entry.seq, where, "of another node or lane")
        elif not entry.is_intact:
            self._note(Fault.EDITED, entry.seq, where, "its hash is not that of its content")
        for problem in self._problems_of_order(entry, where):
            self.findings.append(problem)
        if self.last is None or entry.seq > self.last.seq:
            if self.last is not None and entry.at < self.last.at:
                self.clock_went_back.append(entry.seq)
            self.first = self.first or entry
            self.last, self.where_last = entry, where
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        if entry.seq in self.wanted:
            self.hashes[entry.seq] = entry.hash
        if entry.event.kind == "gap":
            self.gaps.append(entry)

    def _problems_of_order(self, entry: Entry, where: str) -> Iterator[Finding]:
        if self.last is None:
            if entry.seq == 1 and entry.prev != GENESIS:
                yield self._finding(Fault.EDITED, 1, where, "the first record names one before it")
        elif entry.seq < self._expected:
            words = f"comes after record {self.last.seq}"
            yield self._finding(Fault.REPEATED, entry.seq, where, words)
        elif entry.seq > self._expected:
            words = f"records {self._expected} to {entry.seq - 1} are not there"
            yield self._finding(Fault.MISSING, self._expected, where, words)
        elif entry.prev != self.last.hash:
            words = f"record {entry.seq} was chained to another one in its place"
            yield self._finding(Fault.REWRITTEN, self.last.seq, self.where_last, words)

    def _note(self, fault: Fault, seq: int, where: str, words: str) -> None:
        self.findings.append(self._finding(fault, seq, where, words))

    def _finding(self, fault: Fault, seq: int, where: str, words: str) -> Finding:
        return Finding(fault, self.name, seq, where, words)
