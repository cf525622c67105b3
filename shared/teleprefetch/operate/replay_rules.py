"""What a replay does with one run: pure, so that every case can be told beforehand.

Source: Step Functions developer guide, "Redriving executions": FAILED, TIMED_OUT and ABORTED alone,
within 14 days of their end, with fewer than 24,999 events of history, and by the old definition.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from teleprefetch.run_records import ExecutionStatus, PastExecution, Run

Mode = Literal["auto", "redrive", "new"]
Action = Literal["redrive", "new", "skip", "refuse"]

REDRIVABLE_FOR: Final = timedelta(days=14)
MOST_EVENTS: Final = 24_999
_FAILED: Final[frozenset[ExecutionStatus]] = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is known of a run that may be replayed.

    Attributes:
        run: its record, if there is one.
        execution: as Step Functions remembers it; None if it does not.
        events: how long its history is.
        can_be_made_anew: whether its input is known, from the execution or the record.
        is_held: whether the nodes hold and prove all of it now; None if they cannot be asked.
        running_repeat: the name of a replay of it that runs now.
        warm_repeat: the name of its last replay, if that ended warm and is not known to be lost.
        notified_at: when the notice of its assignment went out.
    """

    run: Run | None
    execution: PastExecution | None
    events: int = 0
    can_be_made_anew: bool = True
    is_held: bool | None = None
    running_repeat: str | None = None
    warm_repeat: str | None = None
    notified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, and why it is this."""

    action: Action
    why: str


def decide(candidate: Candidate, mode: Mode, *, now: datetime) -> Decision:
    """What a replay does with a run."""
    standing = _already_right(candidate) or _refused_event(candidate)
    if standing is not None:
        return standing
    obstacle = no_redrive_because(candidate, now=now)
    if mode == "redrive":
        if obstacle:
            return Decision("refuse", f"cannot be redriven: {obstacle}; --mode new starts it anew")
        return Decision("redrive", _with_notice("goes on where it failed", candidate))
    if mode == "auto" and not obstacle:
        return Decision("redrive", _with_notice("goes on where it failed", candidate))
    if not candidate.can_be_made_anew:
        return Decision(
            "refuse", f"{obstacle or 'asked for anew'}; its input is not known any more"
        )
    why = "asked for anew" if mode == "new" else obstacle
    return Decision("new", _with_notice(why, candidate))


def no_redrive_because(candidate: Candidate, *, now: datetime) -> str:
    """Why Step Functions would not redrive an execution; empty if it would."""
    execution = candidate.execution
    if execution is None:
        return "Step Functions does not remember the execution (it does for 90 days)"
    if execution.status not in _FAILED:
        return f"the execution is {execution.status}, and only a failed one is redriven"
    if execution.stopped_at is not None and execution.stopped_at <= now - REDRIVABLE_FOR:
        days = (now - execution.stopped_at).days
        return f"it ended {days} days ago, and redrive is possible for {REDRIVABLE_FOR.days}"
    if candidate.events >= MOST_EVENTS:
        return f"its history holds {candidate.events} events, and redrive needs fewer than 24,999"
    if execution.redrive_status == "NOT_REDRIVABLE":
        return execution.redrive_status_reason or "Step Functions says NOT_REDRIVABLE"
    return ""


def _already_right(candidate: Candidate) -> Decision | None:
    execution, run = candidate.execution, candidate.run
    if execution is not None and execution.status == "RUNNING":
        return Decision("skip", f"it runs, since {execution.started_at:%Y-%m-%d %H:%M:%SZ}")
    if candidate.running_repeat is not None:
        return Decision("skip", f"its replay {candidate.running_repeat} runs")
    if candidate.is_held:
        return Decision("skip", "already right: the nodes hold and prove every planned frame")
    if candidate.warm_repeat is not None:
        return Decision("skip", f"already right: its replay {candidate.warm_repeat} ended warm")
    if _kind(candidate) == "import" and _is_resolved(execution, run):
        return Decision("skip", "already right: the import was resolved; replay its studies")
    return None


def _is_resolved(execution: PastExecution | None, run: Run | None) -> bool:
    if run is not None:
        return run.outcome not in {"failed", "refused"}
    return execution is not None and execution.status == "SUCCEEDED"


def _refused_event(candidate: Candidate) -> Decision | None:
    run = candidate.run
    if run is not None and run.outcome == "refused":
        return Decision("refuse", f"the event was refused and would be again: {run.cause}")
    return None


def _kind(candidate: Candidate) -> str:
    if candidate.execution is not None:
        return candidate.execution.machine
    return candidate.run.kind if candidate.run is not None else ""


def _with_notice(why: str, candidate: Candidate) -> str:
    if candidate.notified_at is None:
        return why
    return (
        f"{why}; its notice went out {candidate.notified_at:%Y-%m-%d %H:%M:%SZ}, none is sent again"
    )
