"""Why a plan is what it is, as values for a table, and what a change of rules does to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic_core import to_jsonable_python

from teleprefetch.domain.exam import Exam, exam_of
from teleprefetch.domain.plan import plan_warming
from teleprefetch.domain.relevance import Ranking, rank_and_read
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules
from teleprefetch.model import Plan, RankedPrior, StudyRecord, Term

Fate = Literal["taken", "partial", "left out"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read from a study's fields, and from which of them."""

    study_instance_uid: str
    study_date: str
    study_description: str
    regions: tuple[str, ...]
    regions_from: str
    modality: str
    modality_from: str
    side: str


@dataclass(frozen=True, slots=True)
class ExplainedPrior:
    """A row of the table: a prior, its terms, and what the plan does with it."""

    rank: int
    seen: Seen
    score: float
    probability: float
    terms: tuple[Term, ...]
    fate: Fate
    reason: str
    planned_bytes: int


@dataclass(frozen=True, slots=True)
class ExplainedDoubt:
    """A study that may be another patient's."""

    seen: Seen
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole table for one current study."""

    current: Seen
    current_planned_bytes: int
    current_reason: str
    budget_bytes: int
    planned_bytes: int
    floor: float
    priors: tuple[ExplainedPrior, ...]
    doubtful: tuple[ExplainedDoubt, ...]


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What another set of rules would change: priors that enter, leave or move in the plan."""

    enters: tuple[ExplainedPrior, ...]
    leaves: tuple[ExplainedPrior, ...]
    moves: tuple[tuple[str, int, int], ...]


def document_of(explained: Explanation | RuleEffect) -> dict[str, object]:
    """The values as a JSON document."""
    document: dict[str, object] = to_jsonable_python(explained)
    return document


def explain(
    current: StudyRecord,
    candidates: Sequence[StudyRecord],
    *,
    rules: SiteRules = DEFAULT_RULES,
    budget_bytes: int,
    now: date | None = None,
) -> Explanation:
    """The ranking and the plan of a study, told in full; arguments as `rank_priors` has them."""
    ranking, exams = rank_and_read(current, candidates, rules=rules, now=now)
    plan = plan_warming(
        current,
        ranking,
        prefetch_id="explain",
        origin_id="explain",
        budget_bytes=budget_bytes,
        rules=rules,
    )
    reasons = {one.study_instance_uid: one.reason for one in plan.left_out}
    planned = _bytes_by_study(plan)
    return Explanation(
        current=_seen(current, exam_of(current, rules.procedure_codes)),
        current_planned_bytes=planned.get(current.study_instance_uid, 0),
        current_reason=reasons.get(current.study_instance_uid, ""),
        budget_bytes=budget_bytes,
        planned_bytes=sum(planned.values()),
        floor=ranking.floor,
        priors=tuple(
            _explained(prior, exam, reasons, planned)
            for prior, exam in zip(ranking.priors, exams, strict=True)
        ),
        doubtful=_doubts(ranking, rules),
    )


def fate_of(reason: str) -> Fate:
    """What happens to a prior, by its reason in the plan's `left_out`, if it has one."""
    if not reason:
        return "taken"
    return "partial" if reason.startswith("partial") else "left out"


def effect(before: Explanation, after: Explanation) -> RuleEffect:
    """The difference between two explanations of the same study under two sets of rules.

    A prior enters if it was left out, or not there, and now is not; `moves` are the UID, the old
    rank and the new one of those that are in the plan both times.
    """
    old = {prior.seen.study_instance_uid: prior for prior in before.priors}
    new = {prior.seen.study_instance_uid: prior for prior in after.priors}
    return RuleEffect(
        enters=tuple(one for uid, one in new.items() if _is_in(one) and not _is_in(old.get(uid))),
        leaves=tuple(one for uid, one in old.items() if _is_in(one) and not _is_in(new.get(uid))),
        moves=tuple(
            (uid, old[uid].rank, one.rank)
            for uid, one in new.items()
            if uid in old and _is_in(one) and _is_in(old[uid]) and one.rank != old[uid].rank
        ),
    )


def _is_in(prior: ExplainedPrior | None) -> bool:
    return prior is not None and prior.fate != "left out"


def _explained(
    prior: RankedPrior, exam: Exam, reasons: dict[str, str], planned: dict[str, int]
) -> ExplainedPrior:
    uid = prior.study.study_instance_uid
    reason = reasons.get(uid, "")
    return ExplainedPrior(
        rank=prior.rank,
        seen=_seen(prior.study, exam),
        score=prior.score,
        probability=prior.probability,
        terms=prior.terms,
        fate=fate_of(reason),
        reason=reason,
        planned_bytes=planned.get(uid, 0),
    )


def _doubts(ranking: Ranking, rules: SiteRules) -> tuple[ExplainedDoubt, ...]:
    return tuple(
        ExplainedDoubt(
            seen=_seen(one.study, exam_of(one.study, rules.procedure_codes)), reason=one.reason
        )
        for one in ranking.doubtful
    )


def _bytes_by_study(plan: Plan) -> dict[str, int]:
    planned: dict[str, int] = {}
    for one in plan.series:
        uid = one.series.study_instance_uid
        planned[uid] = planned.get(uid, 0) + one.estimated_bytes
    return planned


def _seen(study: StudyRecord, exam: Exam) -> Seen:
    return Seen(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_description=study.study_description,
        regions=exam.regions,
        regions_from=exam.region_field,
        modality=exam.modality,
        modality_from=exam.modality_field,
        side=exam.side,
    )
