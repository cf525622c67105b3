"""Replays runs: decides, does it at a bounded rate, and records who and why."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.operate.held import is_held
from teleprefetch.operate.replay_rules import Action, Candidate, Decision, decide
from teleprefetch.operate.replay_subjects import REPEAT, Order, Subject, subjects
from teleprefetch.operate.site import Site
from teleprefetch.prefetch import PrefetchRequest, digest_of
from teleprefetch.run_records import (
    PastExecution,
    Run,
)

WARM: Final = frozenset({"warm", "none relevant"})

_MOST_REPEATS: Final = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was done with one run; `execution` is the name of what runs for it now."""

    subject: str
    study_instance_uid: str | None
    status: str
    action: Action
    why: str
    execution: str | None = None


def replay(
    site: Site, order: Order, *, now: Callable[[], datetime], sleep: Callable[[float], None]
) -> Iterator[Replayed]:
    """Replay what an order names, one after the other.

    Yields:
        each run with what was done, as soon as it is done.
    """
    for subject in subjects(site, order):
        candidate, state = _candidate(site, subject)
        decision = decide(candidate, order.mode, now=now())
        execution: str | None = None
        if decision.action in {"redrive", "new"} and not order.is_dry:
            decision, execution = _do(site, subject, candidate, state, decision, at=now())
            if decision.action != "refuse":
                _record(site, subject, candidate, order, decision, execution, at=now())
            sleep(1 / order.rate_per_s)
        yield _told(subject, candidate, decision, execution)


def _candidate(site: Site, subject: Subject) -> tuple[Candidate, dict[str, Any] | None]:
    execution, run = subject.execution, subject.run
    state = site.histories.input_of(execution) if execution is not None else None
    if state is None and subject.machine == "prefetch" and run is not None:
        state = _state_from(run, site)
    assignment_id = run.assignment_id if run is not None else None
    notice = site.assignments.notice(assignment_id) if assignment_id else None
    has_ended = execution is None or execution.status != "RUNNING"
    running, warm = _repeated(site, subject)
    return Candidate(
        run=run,
        execution=execution,
        events=site.histories.events_of(execution) if execution is not None else 0,
        can_be_made_anew=state is not None,
        is_held=is_held(site, run) if has_ended and run is not None else None,
        running_repeat=running,
        warm_repeat=warm,
        notified_at=notice.released_at if notice is not None else None,
    ), state


def _state_from(run: Run, site: Site) -> dict[str, Any] | None:
    """The input of a prefetch from its record, where Step Functions has forgotten it."""
    if run.origin_id is None or run.study_instance_uid is None or run.reading_location is None:
        return None
    admitted = site.assignments.admitted(run.assignment_id) if run.assignment_id else None
    request = PrefetchRequest(
        prefetch_id=run.run_id,
        origin_id=run.origin_id,
        study_instance_uid=run.study_instance_uid,
        reading_locations=(run.reading_location,),
        cause="operator",
        priority=run.priority or "routine",
        assignment_id=run.assignment_id,
        assigned_to=admitted.assigned_to if admitted is not None else None,
        event_id=run.event_id,
    )
    return {"request": request.model_dump(mode="json")}


def _repeats(site: Site, subject: Subject) -> Iterator[tuple[str, PastExecution | None]]:
    base = subject.run_id if subject.machine == "import" else REPEAT.sub("", subject.name)
    for number in range(1, _MOST_REPEATS + 1):
        name = f"{base}-r{number}"
        yield name, site.histories.execution(subject.machine, name)


def _repeated(site: Site, subject: Subject) -> tuple[str | None, str | None]:
    """The last replay by name, if it runs, and if it ended warm."""
    last: PastExecution | None = None
    for _name, execution in _repeats(site, subject):
        if execution is None:
            break
        last = execution
    if last is None or last.name == subject.name:
        return None, None
    if last.status == "RUNNING":
        return last.name, None
    run = site.runs.run(last.name) if last.status == "SUCCEEDED" else None
    if run is None or run.outcome not in WARM:
        return None, None
    return None, last.name if is_held(site, run) is not False else None


def _do(
    site: Site,
    subject: Subject,
    candidate: Candidate,
    state: dict[str, Any] | None,
    decision: Decision,
    *,
    at: datetime,
) -> tuple[Decision, str | None]:
    if decision.action == "redrive" and candidate.execution is not None:
        token = digest_of(candidate.execution.arn, at.isoformat(timespec="minutes"))
        try:
            site.histories.redrive(candidate.execution, client_token=token)
        except InvalidPayloadError as error:
            return Decision("refuse", f"{error}; --mode new starts it anew"), None
        return decision, candidate.execution.name
    name = _start_anew(site, subject, cast("dict[str, Any]", state))
    if name is None:
        return Decision("refuse", f"replayed {_MOST_REPEATS} times: something else is wrong"), None
    return decision, name


def _start_anew(site: Site, subject: Subject, state: dict[str, Any]) -> str | None:
    for name, execution in _repeats(site, subject):
        if execution is None and site.histories.start(
            subject.machine, name, _renamed(state, name, of=subject.run_id)
        ):
            return name
    return None


def _renamed(state: dict[str, Any], name: str, *, of: str) -> dict[str, Any]:
    """The input of a replay: under its own name, and with nobody who waits for a first notice."""
    if "request" not in state:
        return state
    request = PrefetchRequest.parse(state["request"], at="request")
    changed = {"prefetch_id": name, "waiter": "", "cause": "operator", "of": of}
    return {"request": request.model_copy(update=changed).model_dump(mode="json")}


def _record(
    site: Site,
    subject: Subject,
    candidate: Candidate,
    order: Order,
    decision: Decision,
    execution: str | None,
    *,
    at: datetime,
) -> None:
    about: Iterable[str] = ("origin_id", "study_instance_uid", "patient_key", "accession_key")
    about = (*about, "reader", "reading_location", "assignment_id", "event_id")
    run = candidate.run
    known = {name: getattr(run, name) for name in about} if run is not None else {}
    site.runs.record(
        Run(
            run_id="replay-" + digest_of(subject.run_id, at.isoformat(), order.by),
            kind="replay",
            at=at,
            outcome="redriven" if decision.action == "redrive" else "restarted",
            cause=decision.why,
            of=subject.run_id,
            by=order.by,
            reason=order.reason,
            execution_arn=f"{site.machines[subject.machine]}:{execution}".replace(
                ":stateMachine:", ":execution:"
            ),
            **{name: value for name, value in known.items() if value is not None},
        )
    )


def _told(
    subject: Subject, candidate: Candidate, decision: Decision, execution: str | None
) -> Replayed:
    run = candidate.run
    status = candidate.execution.status if candidate.execution is not None else "forgotten"
    return Replayed(
        subject=subject.run_id,
        study_instance_uid=run.study_instance_uid if run is not None else None,
        status=f"{status}, {run.outcome}" if run is not None else status,
        action=decision.action,
        why=decision.why,
        execution=execution,
    )
