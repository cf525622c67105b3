"""What happened to a study: event, priors, rank with reasons, plan, warm, notice, opened."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from teleprefetch.assignment import Notice
from teleprefetch.domain.audit.questions import Question, answers
from teleprefetch.domain.audit.record import SERVING
from teleprefetch.domain.warmth import prove
from teleprefetch.edge.audit import reading
from teleprefetch.errors import CorruptPayloadError, OriginUnavailableError
from teleprefetch.model import Instant, ObjectPointer, Plan, Value, WarmReport
from teleprefetch.operate.site import Site
from teleprefetch.run_records import Run, RunFilter, notice_run_id
from teleprefetch.steps.plan_warm import plan_key

MOST_RUNS: Final = 500
_ORDER: Final = (
    "import", "assigned", "command", "replay", "prefetch", "warm", "notice", "study warm", "opened",
)  # fmt: skip


class Moment(Value):
    """One thing that happened; `run_id` names it to `replay` and `find`, `event_id` its event."""

    at: Instant
    what: str
    told: str
    run_id: str = ""
    event_id: str = ""


class PriorStory(Value):
    """One prior of the newest plan: where it ranks and why, and what came of it."""

    study_instance_uid: str
    rank: int
    score: float
    reasons: tuple[str, ...]
    taken: bool
    warm: str
    frames: str
    why: str


class Story(Value):
    """All that is known of a study; `answer` is the short of it, `next` what may help.

    `event_id` is that of the newest prefetch: it is in the logs of functions and nodes, in the
    audit and in the notice.
    """

    study_instance_uid: str
    answer: str
    next: str
    event_id: str = ""
    moments: tuple[Moment, ...]
    priors: tuple[PriorStory, ...]


def story_of(site: Site, study_instance_uid: str, *, audit: Path | None, now: datetime) -> Story:
    """Put the records, plans, reports and notices of a study together.

    Args:
        site: the stack.
        study_instance_uid: the current study's; a prior is told of in its current study's story.
        audit: a copy of a node's audit folder, or None.
        now: for how long ago a node was last heard.
    """
    runs = site.runs.find(RunFilter(study_instance_uid=study_instance_uid), limit=MOST_RUNS)
    imports = {run.of for run in runs if run.kind == "prefetch" and run.of}
    came_of = [run for one in imports if (run := site.runs.run(one)) and run.kind == "import"]
    notices = _notices(site, runs)
    moments = [moment for run in (*runs, *came_of) for moment in _moments(run, notices)]
    moments += _openings(audit, study_instance_uid)
    newest = next((run for run in runs if run.kind == "prefetch"), None)
    plan, reports = _plan_and_reports(site, newest)
    priors = _priors(plan, reports, now=now)
    answer, following = _answer(runs, newest, priors)
    return Story(
        study_instance_uid=study_instance_uid,
        answer=answer,
        next=following,
        event_id=(newest.event_id or "") if newest is not None else "",
        moments=tuple(sorted(moments, key=lambda one: (one.at, _ORDER.index(one.what)))),
        priors=priors,
    )


def studies_named(site: Site, what: str) -> tuple[str, ...]:
    """The studies that a run, an assignment or an event is about, by its name or id.

    Raises:
        InvalidPayloadError: nothing may be called that.
    """
    run = site.runs.run(what) or site.runs.run(notice_run_id(what))
    if run is not None and run.study_instance_uid is not None:
        return (run.study_instance_uid,)
    of_event = RunFilter.parse({"event_id": what}, at="WHAT")
    found = site.runs.find(of_event, limit=MOST_RUNS)
    return tuple(dict.fromkeys(run.study_instance_uid for run in found if run.study_instance_uid))


def _notices(site: Site, runs: Iterable[Run]) -> dict[str, Notice]:
    ids = {run.assignment_id for run in runs if run.kind == "notice" and run.assignment_id}
    found = ((one, site.assignments.notice(one)) for one in ids)
    return {one: notice for one, notice in found if notice is not None}


def _plan_and_reports(
    site: Site, prefetch: Run | None
) -> tuple[Plan | None, tuple[WarmReport, ...]]:
    if prefetch is None:
        return None, ()
    pointer = ObjectPointer(bucket=site.settings.documents_bucket, key=plan_key(prefetch.run_id))
    try:
        plan = site.documents.get(pointer, Plan)
    except (OriginUnavailableError, CorruptPayloadError):
        return None, ()  # never written, or expired with the records: told as no plan
    return plan, site.progress.reports(prefetch.run_id)


def _priors(
    plan: Plan | None, reports: Sequence[WarmReport], *, now: datetime
) -> tuple[PriorStory, ...]:
    if plan is None:
        return ()
    taken = {prior.study_instance_uid: prior.taken for prior in plan.priors}
    return tuple(
        PriorStory(
            study_instance_uid=prior.study_instance_uid,
            rank=prior.rank,
            score=prior.score,
            reasons=prior.reasons,
            taken=taken[prior.study_instance_uid],
            warm=prior.warm,
            frames=f"{prior.frames_verified} of {prior.frames_planned}",
            why=prior.problem,
        )
        for prior in prove(plan, reports, failure="", now=now).priors
    )


def _moments(run: Run, notices: dict[str, Notice]) -> Iterable[Moment]:
    if run.kind == "notice":
        yield from _notice_moments(run, notices.get(run.assignment_id or ""))
        return
    where = f" for {run.reading_location}" if run.reading_location else ""
    begun = {
        "import": f"import event{_named(run)}",
        "prefetch": f"prefetch planned{where}" + (f", of {run.of}" if run.of else ""),
        "warm": f"order to {run.node}",
        "replay": f"replay of {run.of} by {run.by}: {run.reason}",
        "command": f"{run.cause} by {run.by}: {run.reason}",
    }[run.kind]
    ended = f"{run.outcome}{_counted(run)}" + (f": {run.cause}" if run.cause else "")
    is_act = run.kind in {"replay", "command", "import"}
    if is_act or run.ended_at is None or run.ended_at == run.at:
        yield Moment(at=run.at, what=run.kind, told=f"{begun}; {ended}", **_names(run))
        return
    yield Moment(at=run.at, what=run.kind, told=begun, **_names(run))
    yield Moment(at=run.ended_at, what=run.kind, told=ended, **_names(run))


def _names(run: Run) -> dict[str, str]:
    return {"run_id": run.run_id, "event_id": run.event_id or ""}


def _named(run: Run) -> str:
    """The id of a run's event, where it had one of its own."""
    stands_in = {None, run.run_id, run.assignment_id}
    return "" if run.event_id in stands_in else f" {run.event_id}"


def _counted(run: Run) -> str:
    counts = run.counts
    if "frames_planned" in counts:
        told = f", {counts.get('frames_verified', 0)} of {counts['frames_planned']} frames proven"
        lost = counts.get("nodes_lost", 0)
        return told + (f", {lost} nodes lost" if lost else "")
    if "studies" in counts:
        return f", {counts['studies']} studies, {counts.get('started', 0)} prefetches started"
    return ""


def _notice_moments(run: Run, notice: Notice | None) -> Iterable[Moment]:
    reader = f" to {run.reader}" if run.reader else ""
    due = f", notice due {run.deadline_at:%H:%M:%SZ}" if run.deadline_at else ""
    place = f" at {run.reading_location}" if run.reading_location else ""
    by_event = f", by event{event}" if (event := _named(run)) else ""
    told = f"{run.assignment_id} assigned{reader}{place}{due}{by_event}"
    yield Moment(at=run.at, what="assigned", told=told, **_names(run))
    if notice is not None:
        why = f": {notice.why}" if notice.why else ""
        told = f"notice out, {notice.reason}{why}"
        yield Moment(at=notice.released_at, what="notice", told=told, **_names(run))
    if run.warm_at is not None:
        told = "Study Warm: all that was planned is proven"
        yield Moment(at=run.warm_at, what="study warm", told=told, **_names(run))


def _openings(audit: Path | None, study_instance_uid: str) -> list[Moment]:
    """When it was first opened by each reader, by a node's audit."""
    if audit is None:
        return []
    first: dict[str, Moment] = {}
    for entry in answers(Question(study=study_instance_uid), reading.entries(audit)):
        if entry.event.kind in SERVING and entry.event.action != "search":
            who = entry.event.subject or "somebody"
            told = f"opened by {who} at {entry.node}, from {entry.event.source}"
            first.setdefault(who, Moment(at=entry.at, what="opened", told=told))
    return list(first.values())


def _answer(
    runs: Sequence[Run], newest: Run | None, priors: Sequence[PriorStory]
) -> tuple[str, str]:
    if not runs:
        return (
            "nothing is recorded of this study",
            "if it was imported, its event was lost: teleprefetch reconcile; else: warm",
        )
    notice = next((run for run in runs if run.kind == "notice"), None)
    if notice is not None and notice.outcome == "waiting":
        return f"its notice waits until {notice.deadline_at}", "past that: teleprefetch reconcile"
    if newest is None:
        return "no prefetch of it is recorded", "teleprefetch warm"
    told = f"its newest prefetch is {newest.outcome}"
    told += f": {newest.cause}" if newest.cause else ""
    told += "".join(
        f"; prior {prior.rank} is {prior.warm}: {prior.why or 'not begun'}"
        for prior in priors
        if prior.taken and prior.warm != "warm"
    )
    if newest.outcome in {"warm", "none relevant", "warming"}:
        return told, ""
    return told, f"teleprefetch replay {newest.run_id} --reason ..."
