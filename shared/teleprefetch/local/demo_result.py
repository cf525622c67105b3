"""What the demo found, as a machine reads it."""

from collections.abc import Sequence
from typing import Any

from teleprefetch.assignment import Notice, PriorWarmth
from teleprefetch.domain.warmth import Proof
from teleprefetch.local.comparing import Comparison
from teleprefetch.local.demo_access import AccessFacts
from teleprefetch.model import Value, WarmReport
from teleprefetch.prefetch import Outcome


class DemoNotice(Value):
    """The notice as it was released; `reason` and `why` are of that instant."""

    reason: str
    why: str
    released_at: str
    deadline: str
    seconds_before_deadline: float


class DemoPrior(Value):
    """A prior in ranked order; `warm` is whether it is proven at the node in the end."""

    study_instance_uid: str
    rank: int
    score: float
    reasons: tuple[str, ...]
    warm: bool
    state: str
    why: str


class DemoResult(Value):
    """The whole of a demo; counts are those of the assignment's prefetch.

    `frames_verified` are the frames that the node gave and that equal the archive's own, among
    those that were planned; `frames_compared` and `frames_differing` are of all that it holds of
    the assigned study and its priors.
    `access` says with whose token they were read, and who was given nothing.
    `frame_requests` is how often the data store was asked for a frame before the comparison, by
    every order together: the same frame for two orders is asked for once. None for an archive.
    `frames_unproven_at_kill` had been asked for when the node was killed and were not held
    yet: only these may be asked for again.
    """

    outcome: str
    notice: DemoNotice
    notices: int
    priors: tuple[DemoPrior, ...]
    frames_planned: int
    frames_warmed: int
    frames_verified: int
    frame_requests: int | None
    frames_unproven_at_kill: int | None
    frames_compared: int
    frames_differing: int
    bytes_warmed: int
    access: AccessFacts
    files_left_out: tuple[str, ...]
    seconds: float

    @property
    def is_proven(self) -> bool:
        """Whether all that was planned is warm and equal, nothing that is held differs.

        And whether nobody but the assigned reader was given anything, and all of it is on record.
        """
        return (
            self.outcome != "failed"
            and self.access.is_proven
            and self.frames_verified == self.frames_warmed == self.frames_planned
            and self.frames_differing == 0
        )


def result_of(
    *,
    notices: Sequence[Notice],
    outcome: Outcome,
    proof: Proof,
    reports: Sequence[WarmReport],
    comparison: Comparison,
    access: AccessFacts,
    frame_requests: int | None,
    frames_unproven_at_kill: int | None,
    files_left_out: tuple[str, ...],
    seconds: float,
) -> DemoResult:
    """The result of a demo that came to a notice and an outcome."""
    planned = _sum(reports, "frames_planned")
    return DemoResult(
        outcome=outcome.state,
        notice=_notice(notices[0]),
        notices=len(notices),
        priors=tuple(_prior(prior) for prior in proof.priors),
        frames_planned=planned,
        frames_warmed=_sum(reports, "frames_warmed"),
        frames_verified=min(planned, comparison.matching),
        frame_requests=frame_requests,
        frames_unproven_at_kill=frames_unproven_at_kill,
        frames_compared=comparison.compared,
        frames_differing=len(comparison.differing),
        bytes_warmed=_sum(reports, "bytes_warmed"),
        access=access,
        files_left_out=files_left_out,
        seconds=round(seconds, 2),
    )


def _sum(reports: Sequence[WarmReport], field: str) -> int:
    return sum(int(getattr(report, field)) for report in reports)


def _notice(notice: Notice) -> DemoNotice:
    deadline = notice.deadline_at or notice.released_at
    early: Any = deadline - notice.released_at
    return DemoNotice(
        reason=notice.reason,
        why=notice.why,
        released_at=notice.released_at.isoformat(),
        deadline=deadline.isoformat(),
        seconds_before_deadline=round(early.total_seconds(), 2),
    )


def _prior(prior: PriorWarmth) -> DemoPrior:
    return DemoPrior(
        study_instance_uid=prior.study_instance_uid,
        rank=prior.rank,
        score=prior.score,
        reasons=prior.reasons,
        warm=prior.warm == "warm",
        state=prior.warm,
        why=prior.problem,
    )
