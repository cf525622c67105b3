"""Where the board keeps what is true of an audit's lanes: a process has one, the worker another."""

from typing import Final, NamedTuple

from teleprefetch.edge.audit.opening import Audit
from teleprefetch.edge.watching.board import Board, Figure


class LaneFigures(NamedTuple):
    """The figures of one lane in each process' slot."""

    failing: Figure
    gap: Figure
    owed: Figure
    denied: Figure
    unsent: Figure
    forked: Figure


ANSWERS: Final = LaneFigures(
    Figure.AUDIT_FAILING,
    Figure.AUDIT_GAP,
    Figure.AUDIT_OWED,
    Figure.AUDIT_DENIED,
    Figure.CHECKPOINTS_UNSENT,
    Figure.AUDIT_FORKED,
)
WARMING: Final = LaneFigures(
    Figure.WORKER_AUDIT_FAILING,
    Figure.WORKER_AUDIT_GAP,
    Figure.WORKER_AUDIT_OWED,
    Figure.WORKER_AUDIT_DENIED,
    Figure.WORKER_CHECKPOINTS_UNSENT,
    Figure.WORKER_AUDIT_FORKED,
)


def tell_audit(board: Board, audit: Audit, lane: LaneFigures) -> None:
    """Tell the board how a lane is; one that cannot be written is tried again."""
    board.put(lane.failing, int(audit.log.is_failing))
    board.put(lane.gap, int(audit.has_gap))
    board.put(lane.owed, audit.log.owed)
    board.put(lane.denied, audit.log.denied)
    board.put(lane.unsent, audit.unsent)
    board.put(lane.forked, int(audit.is_forked))
    if audit.log.is_failing:
        audit.log.try_again()
