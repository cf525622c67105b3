"""From plan and reports to what may be said: what is warm, cold or missing, and why."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from teleprefetch.assignment import NoticeReason, PriorWarmth
from teleprefetch.model import Plan, PlannedPrior, StudyWarmth, Value, WarmReport

NOT_IN_THE_ARCHIVE: Final = "the archive does not hold it"
"""What a node says of a study none of whose series the archive gives any more."""


class Proof(Value):
    """What the nodes have proven of a plan.

    `reason` is warm if all that the plan requires is proven; `why` then says what else is lacking.
    """

    reason: NoticeReason
    why: str
    current: StudyWarmth | None
    priors: tuple[PriorWarmth, ...]


def prove(
    plan: Plan | None,
    reports: Sequence[WarmReport],
    *,
    failure: str,
    now: datetime,
) -> Proof:
    """What is proven of a plan by its nodes' last reports.

    A study counts by the node that has proven most of it: a location's nodes are each warmed so
    that any of them may be lost. Nothing that was not read back and matched is counted.

    Args:
        plan: None if planning never ended.
        reports: the last report of each node.
        failure: what went wrong or ran out, or empty.
        now: to say how long a node has been silent.
    """
    if plan is None:
        return Proof(reason="cold", why=_joined(failure, "no plan"), current=None, priors=())
    studies = _best_of_nodes(reports)
    current = studies.get(plan.study_instance_uid)
    priors = tuple(_prior_warmth(prior, studies, plan) for prior in plan.priors)
    planned = [studies.get(uid) for uid in _planned_uids(plan)]
    is_complete = _reason(planned) == "warm"
    shortfalls = [] if is_complete else _shortfalls(planned, reports, now)
    if plan.required and _reason([studies.get(uid) for uid in plan.required]) == "warm":
        return Proof(reason="warm", why=_joined(*shortfalls), current=current, priors=priors)
    return Proof(
        reason=_reason(planned),
        why="" if is_complete else _joined(failure, *shortfalls),
        current=current,
        priors=priors,
    )


def _planned_uids(plan: Plan) -> tuple[str, ...]:
    taken = (prior.study_instance_uid for prior in plan.priors if prior.taken)
    return (plan.study_instance_uid, *taken)


def _best_of_nodes(reports: Iterable[WarmReport]) -> dict[str, StudyWarmth]:
    best: dict[str, StudyWarmth] = {}
    for report in reports:
        for study in report.studies:
            known = best.get(study.study_instance_uid)
            if known is None or _worth(study) > _worth(known):
                best[study.study_instance_uid] = study
    return best


def _worth(study: StudyWarmth) -> tuple[bool, int]:
    return (study.is_warm, study.frames_verified)


def _reason(planned: Sequence[StudyWarmth | None]) -> NoticeReason:
    if all(study is not None and study.is_warm for study in planned):
        return "warm"
    if any(study is not None and study.frames_verified for study in planned):
        return "partial"
    return "cold"


def _shortfalls(
    planned: Sequence[StudyWarmth | None], reports: Sequence[WarmReport], now: datetime
) -> list[str]:
    known = [study for study in planned if study is not None]
    verified = sum(study.frames_verified for study in known)
    frames = sum(study.frames_planned for study in known)
    said = [f"{verified} of {frames} frames proven"] if known else ["no node has reported"]
    unread = len(planned) - len(known)
    if known and unread:
        said.append(f"{unread} studies not begun")
    said += sorted({study.problem for study in known if study.problem})
    said += [
        f"{report.node} last heard {_silent_s(report, now)} s ago"
        for report in reports
        if report.state == "warming"
    ]
    return said


def _silent_s(report: WarmReport, now: datetime) -> int:
    return max(0, round((now - report.reported_at).total_seconds()))


def _prior_warmth(prior: PlannedPrior, studies: dict[str, StudyWarmth], plan: Plan) -> PriorWarmth:
    study = studies.get(prior.study_instance_uid)
    problem = study.problem if study else ""
    if not prior.taken:
        problem = next(
            (
                left.reason
                for left in plan.left_out
                if left.study_instance_uid == prior.study_instance_uid
            ),
            "left out",
        )
    return PriorWarmth(
        study_instance_uid=prior.study_instance_uid,
        rank=prior.rank,
        score=prior.score,
        reasons=prior.reasons,
        warm=_warm_word(study) if prior.taken else "left out",
        frames_planned=study.frames_planned if study else 0,
        frames_verified=study.frames_verified if study else 0,
        problem=problem,
    )


def _warm_word(study: StudyWarmth | None) -> Literal["warm", "partial", "cold", "missing"]:
    if study is None:
        return "cold"
    if study.is_warm or study.frames_verified:
        return "warm" if study.is_warm else "partial"
    return "missing" if study.problem == NOT_IN_THE_ARCHIVE else "cold"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
