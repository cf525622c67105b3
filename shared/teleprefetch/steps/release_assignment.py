"""State `ReleaseAssignment`: the notice, at once and once, whatever happened before."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from teleprefetch.assignment import AssignmentAddress, Notice, prefetch_id_of_assignment
from teleprefetch.domain.causes import cause_of
from teleprefetch.domain.import_events import import_id_of
from teleprefetch.domain.warmth import Proof, prove
from teleprefetch.errors import (
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
    PrefetchError,
)
from teleprefetch.model import ObjectPointer, Plan, Value, WarmReport
from teleprefetch.ports import Assignments, Documents, Events, Outcomes, Progress
from teleprefetch.prefetch import Outcome
from teleprefetch.steps.admit_assignment import assigned_of, deadline_of
from teleprefetch.steps.plan_warm import plan_key

NOTICE: Final = "Assignment Released"
LISTED_PRIORS: Final = 200  # of about 600 bytes; PutEvents takes less than 256 KB


class Released(Value):
    """Whether this call put the notice on the bus, and what the notice says."""

    published: bool
    reason: str
    why: str


def run(
    given: Mapping[str, Any],
    *,
    assignments: Assignments,
    progress: Progress,
    documents: Documents,
    documents_bucket: str,
    events: Events,
    outcomes: Outcomes,
    deadline_s: int,
    now: datetime,
) -> Released:
    """Release an assignment to its reader.

    A plan, a report or a field of the event that cannot be read is told in the notice and never
    holds it back. An event with no assignment id to release is recorded as refused.

    Args:
        given: the machine's state, or the event about the machine's own failure.
    """
    state = _state_of(given)
    about = _what_can_be_read(state.get("detail"))
    if "assignment_id" not in about:
        return _refuse(state, outcomes=outcomes, now=now)
    assignment_id = about["assignment_id"]
    prefetch_id = prefetch_id_of_assignment(assignment_id)
    proof = _proof(
        prefetch_id,
        _failure_of(state),
        progress=progress,
        documents=documents,
        documents_bucket=documents_bucket,
        now=now,
    )
    notice = Notice(
        assignment_id=assignment_id,
        prefetch_id=prefetch_id,
        origin_id=about.get("origin_id"),
        study_instance_uid=about.get("study_instance_uid"),
        reading_location=about.get("reading_location"),
        reason=proof.reason,
        why=proof.why,
        released_at=now,
        deadline_at=_deadline_of(state, deadline_s=deadline_s, now=now),
        current=proof.current,
        priors=proof.priors[:LISTED_PRIORS],
        priors_not_listed=len(proof.priors[LISTED_PRIORS:]),
    )
    return _publish(notice, assignments=assignments, events=events, now=now)


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


def _proof(
    prefetch_id: str,
    failure: str,
    *,
    progress: Progress,
    documents: Documents,
    documents_bucket: str,
    now: datetime,
) -> Proof:
    plan: Plan | None = None
    reports: tuple[WarmReport, ...] = ()
    pointer = ObjectPointer(bucket=documents_bucket, key=plan_key(prefetch_id))
    try:
        plan = documents.get(pointer, Plan)
        reports = progress.reports(prefetch_id)
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


def _deadline_of(state: Mapping[str, Any], *, deadline_s: int, now: datetime) -> datetime | None:
    try:
        return deadline_of(state, assigned_of(state), deadline_s=deadline_s, now=now)
    except InvalidPayloadError:
        return None


def _publish(
    notice: Notice, *, assignments: Assignments, events: Events, now: datetime
) -> Released:
    claimed = assignments.claim_notice(notice, now=now)
    if claimed is None:
        standing = assignments.notice(notice.assignment_id) or notice
        return Released(published=False, reason=standing.reason, why=standing.why)
    try:
        events.publish(NOTICE, claimed.model_dump(mode="json"))
    except PrefetchError:
        assignments.drop_claim(notice.assignment_id)
        raise
    assignments.notice_published(notice.assignment_id, at=now)
    return Released(published=True, reason=claimed.reason, why=claimed.why)
