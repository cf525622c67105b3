"""Ranks a patient's priors as a radiologist would open them, and says why."""

from collections.abc import Sequence
from datetime import date

from pydantic import Field

from teleprefetch.domain.exam import Exam, day_of, exam_of
from teleprefetch.domain.identity import belonging
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules
from teleprefetch.domain.scoring import score
from teleprefetch.domain.slots import Scored, useful_first
from teleprefetch.model import RankedPrior, StudyRecord, Term, Value


class Doubtful(Value):
    """A study with the patient's id whose other fields contradict; shown, not warmed by itself."""

    study: StudyRecord
    reason: str


class Ranking(Value):
    """Priors in the order of their usefulness; those below `floor` are not worth warming."""

    priors: tuple[RankedPrior, ...]
    doubtful: tuple[Doubtful, ...] = ()
    floor: float = Field(ge=0, le=1)

    def is_above_floor(self, prior: RankedPrior) -> bool:
        """True if the prior is likely enough to be opened to be worth its bytes."""
        return prior.probability >= self.floor


def rank_priors(
    current: StudyRecord,
    candidates: Sequence[StudyRecord],
    *,
    rules: SiteRules = DEFAULT_RULES,
    now: date | None = None,
) -> Ranking:
    """Rank every candidate that is the patient's and is not the current study itself.

    Args:
        current: the study to be read.
        candidates: what a search by PatientID gave, in any order, duplicates included.
        rules: the site's changes.
        now: stands for the current study's date where that is missing or malformed.
    """
    ranking, _ = rank_and_read(current, candidates, rules=rules, now=now)
    return ranking


def rank_and_read(
    current: StudyRecord,
    candidates: Sequence[StudyRecord],
    *,
    rules: SiteRules,
    now: date | None,
) -> tuple[Ranking, tuple[Exam, ...]]:
    """The ranking as `rank_priors` gives it, and the exam that each ranked prior was read as."""
    ours, doubtful = _of_the_patient(current, candidates)
    doubts: dict[str, Term] = {}
    if rules.warm_doubtful:
        ours.extend(one.study for one in doubtful)
        doubts = {one.study.study_instance_uid: _doubt(one) for one in doubtful}
        doubtful = []
    exam = exam_of(current, rules.procedure_codes)
    today = day_of(current.study_date) or (now.toordinal() if now else None)
    ordered = useful_first(exam, [_scored(exam, one, today, rules) for one in ours], rules=rules)
    priors = tuple(
        RankedPrior(
            study=one.study,
            rank=rank,
            score=one.score.points,
            probability=one.score.probability,
            terms=(*one.score.terms, *slots, *_doubts_of(one.study, doubts)),
        )
        for rank, (one, slots) in enumerate(ordered, start=1)
    )
    ranking = Ranking(priors=priors, doubtful=tuple(doubtful), floor=rules.floor)
    return ranking, tuple([one.exam for one, _ in ordered])


def _scored(current: Exam, study: StudyRecord, today: int | None, rules: SiteRules) -> Scored:
    day = day_of(study.study_date)
    age_days = None if day is None or today is None else today - day
    exam = exam_of(study, rules.procedure_codes)
    return Scored(study, exam, age_days, score(current, exam, age_days=age_days, rules=rules))


def _doubt(one: Doubtful) -> Term:
    return Term(term="identity", points=0, reason=f"doubtful: {one.reason}")


def _doubts_of(study: StudyRecord, doubts: dict[str, Term]) -> tuple[Term, ...]:
    doubt = doubts.get(study.study_instance_uid)
    return () if doubt is None else (doubt,)


def _of_the_patient(
    current: StudyRecord, candidates: Sequence[StudyRecord]
) -> tuple[list[StudyRecord], list[Doubtful]]:
    ours: list[StudyRecord] = []
    doubtful: list[Doubtful] = []
    seen = {current.study_instance_uid}
    for study in candidates:
        if study.study_instance_uid in seen:
            continue
        seen.add(study.study_instance_uid)
        verdict, reason = belonging(current, study)
        if verdict == "same":
            ours.append(study)
        elif verdict == "doubtful":
            doubtful.append(Doubtful(study=study, reason=reason))
    return ours, doubtful
