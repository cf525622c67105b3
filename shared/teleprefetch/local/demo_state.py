"""What the demo has shown so far, as one frozen value, and its sentences."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

Fate = Literal["taken", "warm", "left out"]


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event on the bus."""

    time: datetime
    detail_type: str


@dataclass(frozen=True, slots=True)
class MachineState:
    """The state that an execution of a machine is in, or how it ended."""

    machine: str
    execution: str
    state: str


@dataclass(frozen=True, slots=True)
class PriorRow:
    """A ranked prior; `study_date` is YYYYMMDD or empty."""

    rank: int
    study_date: str
    modality: str
    description: str
    score: float
    reason: str
    fate: Fate


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far a node is; `bytes_planned` is an estimate."""

    node: str
    frames_warmed: int
    frames_planned: int
    frames_verified: int
    bytes_warmed: int
    bytes_planned: int


@dataclass(frozen=True, slots=True)
class Notice:
    """The assignment notice: when and why it was released."""

    reason: str
    released_at: datetime
    deadline: datetime
    why: str

    @property
    def sentence(self) -> str:
        """The notice in words, against its deadline."""
        early_s = (self.deadline - self.released_at).total_seconds()
        if abs(early_s) < 0.05:
            when = "at its deadline"
        else:
            when = f"{abs(early_s):.1f} s {'before' if early_s > 0 else 'after'} its deadline"
        return f"Notice released {when}: {self.reason}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Verification:
    """Frames of a node compared with the archive's."""

    compared: int
    differing: int

    @property
    def passed(self) -> bool:
        """True if something was compared and all of it is equal."""
        return self.compared > 0 and self.differing == 0

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if self.compared == 0:
            return "Not verified: no frame was compared with the archive"
        if self.differing == 0:
            return f"Verified: {self.compared} frames compared with the archive, none differs"
        return f"Verification failed: {self.differing} of {self.compared} frames differ"


@dataclass(frozen=True, slots=True)
class Access:
    """Who was given what, in words."""

    sentence: str
    passed: bool


@dataclass(frozen=True, slots=True)
class DemoState:
    """All that the demo shows; every method returns the state after something was seen."""

    events: tuple[SeenEvent, ...] = ()
    machines: tuple[MachineState, ...] = ()
    ranked: tuple[PriorRow, ...] = ()
    nodes: tuple[NodeProgress, ...] = ()
    assigned_at: datetime | None = None
    deadline: datetime | None = None
    released: Notice | None = None
    verified: Verification | None = None
    accessed: Access | None = None

    def event_seen(self, time: datetime, detail_type: str) -> "DemoState":
        """An event came over the bus."""
        return replace(self, events=(*self.events, SeenEvent(time, detail_type)))

    def assigned(self, *, at: datetime, deadline: datetime) -> "DemoState":
        """The study was assigned; its notice is due at the deadline."""
        return replace(self, assigned_at=at, deadline=deadline)

    def machine_state(self, *, machine: str, execution: str, state: str) -> "DemoState":
        """An execution entered a state; it keeps its place in the list."""
        now = MachineState(machine, execution, state)
        others = {(m.machine, m.execution): m for m in self.machines}
        others[machine, execution] = now
        return replace(self, machines=tuple(others.values()))

    def priors(self, rows: tuple[PriorRow, ...]) -> "DemoState":
        """The priors were ranked, or their fates changed."""
        return replace(self, ranked=tuple(sorted(rows, key=lambda row: row.rank)))

    def progress(self, node: NodeProgress) -> "DemoState":
        """A node reported."""
        nodes = {known.node: known for known in self.nodes}
        nodes[node.node] = node
        return replace(self, nodes=tuple(nodes.values()))

    def notice(self, notice: Notice) -> "DemoState":
        """The notice went out."""
        return replace(self, released=notice)

    def verification(self, *, compared: int, differing: int) -> "DemoState":
        """Frames were compared with the archive's."""
        return replace(self, verified=Verification(compared, differing))

    def access(self, sentence: str, *, passed: bool) -> "DemoState":
        """It was tried who is given what."""
        return replace(self, accessed=Access(sentence, passed))


def printable(text: str) -> str:
    """The text without control characters: descriptions come from files of anybody's making."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def day(study_date: str) -> str:
    """YYYYMMDD as YYYY-MM-DD; anything else as it is."""
    if len(study_date) == 8 and study_date.isdecimal():
        return f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}"
    return printable(study_date)


def megabytes(size_bytes: int) -> str:
    """Bytes in MB of a million."""
    return f"{size_bytes / 1e6:.1f}"
