"""State `ReleaseAssignment`: the notice, at once and once, whatever happened before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from teleprefetch.assignment import AssignmentAddress, LateWarm, Notice, prefetch_id_of_assignment
from teleprefetch.domain.causes import cause_of
from teleprefetch.domain.correlation import event_id_of
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.domain.viewer_links import with_links
from teleprefetch.domain.warmth import Proof, prove
from teleprefetch.errors import (
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
    PrefetchError,
)
from teleprefetch.model import ObjectPointer, Plan, Value, WarmReport
from teleprefetch.ports import Assignments, Documents, Events, Outcomes, Progress, Runs
from teleprefetch.prefetch import Outcome
from teleprefetch.run_records import Run, notice_run_id
from teleprefetch.settings import Gate
from teleprefetch.steps.admit_assignment import assigned_of, deadline_of
from teleprefetch.steps.plan_warm import plan_key

NOTICE: Final = "Assignment Released"
LATE_WARM: Final = "Study Warm"
LISTED_PRIORS: Final = 200  # of about 600 bytes; PutEvents takes less than 256 KB


class Released(Value):
    """Whether this call put the notice on the bus, and what the notice says."""

    published: bool
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Desk:
    """What a release reads and writes."""

    assignments: Assignments
    progress: Progress
    documents: Documents
    documents_bucket: str
    events: Events
    outcomes: Outcomes
    runs: Runs
    viewer_url: str | None = None


def run(given: Mapping[str, Any], *, desk: Desk, gate: Gate, now: datetime) -> Released:
    """Release an assignment to its reader.

    A plan, a report or a field of the event that cannot be read is told in the notice and never
    holds it back. An event with no assignment id to release is recorded as refused.

    Args:
        given: the machine's state, or the event about the machine's own failure.
        desk: what it works with.
        gate: when notices go out.
        now: the time of the notice.
    """
    state = _state_of(given)
    about = _what_can_be_read(state.get("detail"))
    if "assignment_id" not in about:
        return _refuse(state, outcomes=desk.outcomes, now=now)
    assignment_id = about["assignment_id"]
    prefetch_id = prefetch_id_of_assignment(assignment_id)
    proof = _proof(prefetch_id, _failure_of(state), desk=desk, now=now)
    notice = Notice(
        assignment_id=assignment_id,
        prefetch_id=prefetch_id,
        origin_id=about.get("origin_id"),
        study_instance_uid=about.get("study_instance_uid"),
        reading_location=about.get("reading_location"),
        reason=proof.reason,
        why=proof.why,
        released_at=now,
        deadline_at=_deadline_of(state, gate=gate, now=now),
        current=proof.current,
        priors=proof.priors[:LISTED_PRIORS],
        priors_not_listed=len(proof.priors[LISTED_PRIORS:]),
        event_id=event_id_of(state) or assignment_id,
    )
    released = _publish(with_links(notice, desk.viewer_url), desk=desk, now=now)
    _record(assignment_id, desk=desk, now=now)
    announce_late_warm(assignment_id, prefetch_id, desk=desk, now=now)
    return released


def announce_late_warm(assignment_id: str, prefetch_id: str, *, desk: Desk, now: datetime) -> bool:
    """Publish `Study Warm` if a notice is out that lacked something which is proven warm by now.

    Whoever ends last - the notice, or a prefetch - finds what the other wrote, and one of them
    sends the event, once.

    Args:
        assignment_id: whose notice it is about.
        prefetch_id: the prefetch that warmed it: the assignment's own, or a replay of it.
        desk: what it works with.
        now: the time of the event.
    """
    notice = desk.assignments.notice(assignment_id)
    ended = desk.outcomes.outcome(prefetch_id)
    if notice is None or notice.is_complete or ended is None:
        return False
    if ended.state not in {"warm", "none relevant"}:
        return False
    proof = _proof(prefetch_id, "", desk=desk, now=now)
    if proof.reason != "warm" or proof.why:
        return False
    if not desk.assignments.late_warm(assignment_id, at=now):
        return False
    late = LateWarm(
        assignment_id=assignment_id,
        prefetch_id=prefetch_id,
        origin_id=notice.origin_id,
        study_instance_uid=notice.study_instance_uid,
        reading_location=notice.reading_location,
        warm_at=now,
        released_at=notice.released_at,
        studies=1 + sum(prior.warm == "warm" for prior in proof.priors),
        link=notice.link,
        event_id=notice.event_id,
    )
    try:
        desk.events.publish(LATE_WARM, late.model_dump(mode="json"))
    except PrefetchError:
        desk.assignments.drop_late_warm(assignment_id)
        raise
    _record(assignment_id, desk=desk, now=now, warm_at=now)
    return True


def _record(
    assignment_id: str, *, desk: Desk, now: datetime, warm_at: datetime | None = None
) -> None:
    """Write the notice that stands into its run, and that it was followed by `Study Warm`."""
    notice = desk.assignments.notice(assignment_id)
    if notice is None:
        return
    known: dict[str, Any] = {
        "origin_id": notice.origin_id,
        "study_instance_uid": notice.study_instance_uid,
        "reading_location": notice.reading_location,
        "deadline_at": notice.deadline_at,
        "event_id": notice.event_id,
        "warm_at": warm_at,
    }
    desk.runs.record(
        Run(
            run_id=notice_run_id(assignment_id),
            kind="notice",
            at=now,
            outcome=notice.reason,
            ended_at=notice.released_at,
            cause=notice.why,
            of=notice.prefetch_id,
            assignment_id=assignment_id,
            **{name: value for name, value in known.items() if value is not None},
        )
    )


def _state_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state; of a failed execution, the input it was started with, and how it failed."""
    if given.get("source") != "aws.states":
        return given
    detail = given.get("detail")
    detail = detail if isinstance(detail, Mapping) else {}
    try:
        state = json.loads(str(detail.get("input", "")))
    except ValueError:
        return {}
    failure = {"Error": detail.get("error") or f"States.{detail.get('status', 'FAILED')}"}
    return {**state, "error": failure} if isinstance(state, dict) else {}


def _what_can_be_read(detail: object) -> dict[str, Any]:
    """The fields of an assignment that are valid by themselves, whatever is wrong with others."""
    given = detail if isinstance(detail, Mapping) else {}
    fields = {name: given[name] for name in AssignmentAddress.model_fields if name in given}
    readable: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            readable |= AssignmentAddress.parse({name: value}).model_dump(exclude_none=True)
        except InvalidPayloadError:
            continue
    return readable


def _refuse(state: Mapping[str, Any], *, outcomes: Outcomes, now: datetime) -> Released:
    event = {key: state.get(key) for key in ("source", "detail-type", "detail", "time")}
    subject = import_id_of(event).replace("imp-", "refused-", 1)
    cause = _contract_broken(state)
    outcomes.record(Outcome(subject=subject, state="refused", recorded_at=now, cause=cause))
    return Released(published=False, reason="refused", why=cause)


def _proof(prefetch_id: str, failure: str, *, desk: Desk, now: datetime) -> Proof:
    plan: Plan | None = None
    reports: tuple[WarmReport, ...] = ()
    pointer = ObjectPointer(bucket=desk.documents_bucket, key=plan_key(prefetch_id))
    try:
        plan = desk.documents.get(pointer, Plan)
        reports = desk.progress.reports(prefetch_id)
    except (OriginUnavailableError, CorruptPayloadError) as error:
        failure = failure or f"{type(error).__name__}: {error}"
    return prove(plan, reports, failure=failure, now=now)


def _failure_of(state: Mapping[str, Any]) -> str:
    if isinstance(state.get("prefetch"), Mapping):
        return str(state["prefetch"].get("cause", ""))
    if "error" not in state:
        return _contract_broken(state) or "no time to wait"
    cause = cause_of(state["error"])
    return "deadline reached" if cause.startswith("States.Timeout") else cause


def _contract_broken(state: Mapping[str, Any]) -> str:
    try:
        assigned_of(state)
    except InvalidPayloadError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _deadline_of(state: Mapping[str, Any], *, gate: Gate, now: datetime) -> datetime | None:
    try:
        return deadline_of(state, assigned_of(state), gate=gate, now=now)
    except InvalidPayloadError:
        return None


def _publish(notice: Notice, *, desk: Desk, now: datetime) -> Released:
    claimed = desk.assignments.claim_notice(notice, now=now)
    if claimed is None:
        standing = desk.assignments.notice(notice.assignment_id) or notice
        return Released(published=False, reason=standing.reason, why=standing.why)
    try:
        desk.events.publish(NOTICE, claimed.model_dump(mode="json"))
    except PrefetchError:
        desk.assignments.drop_claim(notice.assignment_id)
        raise
    desk.assignments.notice_published(notice.assignment_id, at=now)
    return Released(published=True, reason=claimed.reason, why=claimed.why)
