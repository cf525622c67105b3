"""Who else asks the demo's node and gets nothing, and whether its audit says what was given."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.completeness import Span
from teleprefetch.domain.audit.record import SERVING
from teleprefetch.edge.audit import reading
from teleprefetch.edge.audit.checkpointing import read_local
from teleprefetch.edge.audit.signing import verifier
from teleprefetch.errors import PrefetchError
from teleprefetch.local.comparing import Claim, NodeReader
from teleprefetch.model import Value
from teleprefetch.ports import Origin

_PUBLIC_KEY: Final = "checkpoint-key.pem.pub"
_MOST_PROBLEMS: Final = 5


class Asked(Value):
    """How many requests somebody made who may not read, and how many were given anything."""

    asked: int
    given: int


class AuditFacts(Value):
    """The node's audit, read when the node has ended.

    `given` is how many requests of the demo got anything of a study; each of them should be among
    `recorded_once`. `problems` are the first things that are wrong with the audit itself.
    """

    records: int
    given: int
    recorded_once: int
    problems: tuple[str, ...]

    @property
    def is_proven(self) -> bool:
        """Whether nothing is wrong, nothing missing, and everything that was given is there."""
        return not self.problems and self.recorded_once == self.given > 0


class AccessFacts(Value):
    """Who read as whom: `reader` is the subject of the token that all frames were read with."""

    reader: str
    unassigned: Asked
    without_token: Asked
    audit: AuditFacts

    @property
    def is_proven(self) -> bool:
        """Whether only the assigned reader was given anything, and all of that is on record."""
        others = (self.unassigned, self.without_token)
        return self.audit.is_proven and all(one.asked > 0 == one.given for one in others)

    @property
    def sentence(self) -> str:
        """The facts in words."""
        return (
            f"Access: {self.audit.given} answers to {self.reader}, {self.audit.recorded_once} of "
            f"them recorded once; {_got(self.unassigned)} without an assignment, "
            f"{_got(self.without_token)} without a token; audit of {self.audit.records} records "
            + ("sound and complete" if not self.audit.problems else self.audit.problems[0])
        )


def try_to_read(
    node: NodeReader, claims: Iterable[Claim], *, origins: Mapping[str, Origin]
) -> Asked:
    """Ask as somebody who may not: for each study by search, and a frame of each series."""
    claims = tuple(claims)
    studies = {claim.series.study_instance_uid for claim in claims}
    asked = len(studies)
    given = sum(bool(node.search_for_study(study)) for study in sorted(studies))
    for claim in claims:
        frames = origins[claim.origin_id].retrieve_series_metadata(claim.series).frames
        asked += len(frames[:1])
        given += sum(node.retrieve_frame(claim.series, one) is not None for one in frames[:1])
    return Asked(asked=asked, given=given)


def audit_facts(folder: Path, given: Sequence[str], *, span: Span) -> AuditFacts:
    """What the audit of a node that has ended says about requests that were given something.

    Args:
        folder: the audit's.
        given: the names of those requests, as X-Request-Id told the node.
        span: a time before its end that should be complete.
    """
    try:
        lanes = reading.lane_folders(folder)
        verdict = reading.verify(
            folder,
            checkpoints={lane.name: read_local(lane) for lane in lanes},
            is_signed=verifier(folder / _PUBLIC_KEY),
            span=span,
        )
    except PrefetchError as error:
        return AuditFacts(records=0, given=len(given), recorded_once=0, problems=(str(error),))
    serving = (one.event for one in reading.entries(folder) if one.event.kind in SERVING)
    recorded = Counter(event.request for event in serving)
    problems = [str(finding) for finding in verdict.findings]
    problems += [] if verdict.proof is None else verdict.proof.reasons
    return AuditFacts(
        records=verdict.records,
        given=len(given),
        recorded_once=sum(recorded[name] == 1 for name in given),
        problems=tuple(problems[:_MOST_PROBLEMS]),
    )


def _got(asked: Asked) -> str:
    return f"{asked.given} of {asked.asked}"
