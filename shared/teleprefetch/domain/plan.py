"""What to warm within a byte budget, in what order, and what is left out."""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from teleprefetch.domain.exam import Exam, day_of, exam_of
from teleprefetch.domain.relevance import Ranking
from teleprefetch.domain.rules import SiteRules, WarmRule
from teleprefetch.domain.selection import applies
from teleprefetch.domain.sizes import sizes_of
from teleprefetch.domain.slots import oldest_slot
from teleprefetch.model import (
    LeftOut,
    Plan,
    PlannedPrior,
    PlannedSeries,
    RankedPrior,
    Role,
    StudyRecord,
    Term,
)

_NO_TERM: Final = Term(term="", points=0, reason="")


@dataclass(slots=True)
class _Basket:
    """What was taken so far, and the bytes that are left."""

    left_bytes: int
    series: list[PlannedSeries] = field(default_factory=list)

    def take(self, costs: list[PlannedSeries]) -> int:
        """Take series in their order until one does not fit; how many were taken."""
        for taken, cost in enumerate(costs):
            if cost.estimated_bytes > self.left_bytes:
                return taken
            self.series.append(cost)
            self.left_bytes -= cost.estimated_bytes
        return len(costs)


def affordable_bytes(*, budget_bytes: int, seconds_s: float, link_bytes_per_s: float) -> int:
    """The part of a budget that the link can carry before a deadline; never negative."""
    return max(0, min(budget_bytes, int(seconds_s * link_bytes_per_s)))


def plan_warming(
    current: StudyRecord,
    ranking: Ranking,
    *,
    prefetch_id: str,
    origin_id: str,
    budget_bytes: int,
    rules: SiteRules,
) -> Plan:
    """The plan: the current study first, then whole priors by usefulness, a partial one last.

    A prior that does not fit is passed over, and the next may still fit; of those passed over the
    most useful is taken in part at the very end, as many of its series as fit. Such a prior is
    `taken`, and its entry in `left_out` begins with "partial".

    Args:
        current: the study to be read; its series have rank 0.
        ranking: its priors in order.
        prefetch_id: the name of this plan.
        origin_id: where the series are.
        budget_bytes: what the plan's estimates may add up to.
        rules: the site's limits.
    """
    basket = _Basket(left_bytes=budget_bytes)
    left_out: dict[str, str] = {}
    costs = _costs(current, role="current", rank=0)
    taken = basket.take(costs)
    if taken < len(costs):
        left_out[current.study_instance_uid] = (
            f"budget: {len(costs) - taken} of {len(costs)} series of the current study"
        )
    left_out |= _take_priors(current, ranking, basket=basket, rules=rules)
    planned = tuple(_planned(prior, left_out) for prior in ranking.priors)
    left_out |= {
        one.study.study_instance_uid: f"doubtful: {one.reason}" for one in ranking.doubtful
    }
    return Plan(
        prefetch_id=prefetch_id,
        origin_id=origin_id,
        study_instance_uid=current.study_instance_uid,
        series=tuple(basket.series),
        priors=planned,
        left_out=tuple(
            LeftOut(study_instance_uid=uid, reason=reason) for uid, reason in left_out.items()
        ),
        budget_bytes=budget_bytes,
    )


def _take_priors(
    current: StudyRecord, ranking: Ranking, *, basket: _Basket, rules: SiteRules
) -> dict[str, str]:
    """Fill the basket; the priors left out, or taken in part, with the reason."""
    limits = _Limits(current, exam_of(current, rules.procedure_codes), rules)
    left_out: dict[str, str] = {}
    passed_over: list[tuple[str, list[PlannedSeries]]] = []
    for prior in ranking.priors:
        uid = prior.study.study_instance_uid
        if reason := _below_floor(prior, ranking) or limits.refusal(prior):
            left_out[uid] = reason
            continue
        costs = _costs(prior.study, role="prior", rank=prior.rank)
        needed = sum(cost.estimated_bytes for cost in costs)
        if needed <= basket.left_bytes:
            basket.take(costs)
            limits.count(prior)
        else:
            left_out[uid] = f"budget: {needed} bytes do not fit in {basket.left_bytes}"
            passed_over.append((uid, costs))
    for uid, costs in passed_over[:1]:
        if taken := basket.take(costs):
            left_out[uid] = f"partial: {taken} of {len(costs)} series fit in the budget"
    return left_out


def _below_floor(prior: RankedPrior, ranking: Ranking) -> str:
    if ranking.is_above_floor(prior):
        return ""
    return f"below the floor: {prior.probability:.0%} < {ranking.floor:.0%}"


class _Limits:
    """The site's warm rules against one current study, with what was taken under each."""

    def __init__(self, current: StudyRecord, exam: Exam, rules: SiteRules) -> None:
        self._exam = exam
        self._day = day_of(current.study_date)
        self._rules = rules
        self._taken: Counter[str] = Counter()

    def refusal(self, prior: RankedPrior) -> str:
        """Why a rule keeps the prior from being warmed; empty if none does."""
        if not self._rules.warm:
            return ""
        exam = exam_of(prior.study, self._rules.procedure_codes)
        fitting = (rule for rule in self._rules.warm if applies(rule, self._exam, exam))
        reasons = (self._refusal(rule, exam, prior) for rule in fitting)
        return next((reason for reason in reasons if reason), "")

    def _refusal(self, rule: WarmRule, exam: Exam, prior: RankedPrior) -> str:
        if rule.never:
            return f"rule {rule.name}: never"
        if rule.same_modality and exam.modality != self._exam.modality:
            return f"rule {rule.name}: same modality only"
        if _is_kept_as_oldest(prior, rule):
            return ""
        if rule.max_age_days is not None and self._age_days(prior) > rule.max_age_days:
            return f"rule {rule.name}: older than {rule.max_age_days} days"
        if rule.max_number is not None and self._taken[rule.name] >= rule.max_number:
            return f"rule {rule.name}: at most {rule.max_number}"
        return ""

    def _age_days(self, prior: RankedPrior) -> int:
        day = day_of(prior.study.study_date)
        return 0 if day is None or self._day is None else self._day - day

    def count(self, prior: RankedPrior) -> None:
        """Count the prior under every rule that is about it; the oldest has its own place."""
        if not self._rules.warm:
            return
        exam = exam_of(prior.study, self._rules.procedure_codes)
        self._taken.update(
            rule.name
            for rule in self._rules.warm
            if applies(rule, self._exam, exam) and not _is_kept_as_oldest(prior, rule)
        )


def _is_kept_as_oldest(prior: RankedPrior, rule: WarmRule) -> bool:
    return any(term.reason == oldest_slot(rule) for term in prior.terms)


def _planned(prior: RankedPrior, left_out: dict[str, str]) -> PlannedPrior:
    uid = prior.study.study_instance_uid
    return PlannedPrior(
        study_instance_uid=uid,
        rank=prior.rank,
        score=prior.score,
        reasons=tuple([_told(term) for term in prior.terms]),
        taken=left_out.get(uid, "partial").startswith("partial"),
        rule=max(prior.terms, key=_points, default=_NO_TERM).term,
    )


def _points(term: Term) -> float:
    return term.points


@lru_cache(maxsize=4_096)
def _told(term: Term) -> str:
    return f"{term.reason} {term.points:+g}"


def _costs(study: StudyRecord, *, role: Role, rank: int) -> list[PlannedSeries]:
    """The series in warming order: primary ones first, then by SeriesNumber."""
    ordered = sorted(
        zip(study.series, sizes_of(study), strict=True),
        key=lambda each: (
            not each[0].is_primary,
            each[0].series_number is None,
            each[0].series_number or 0,
            each[0].pointer.series_instance_uid,
        ),
    )
    return [
        PlannedSeries(role=role, rank=rank, series=series.pointer, estimated_bytes=size_bytes)
        for series, size_bytes in ordered
    ]
