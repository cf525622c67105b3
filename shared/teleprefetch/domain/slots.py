"""The order of usefulness, and the places kept for what a formula would push back."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from teleprefetch.domain.exam import Exam
from teleprefetch.domain.rules import SiteRules, WarmRule
from teleprefetch.domain.scoring import Score
from teleprefetch.domain.selection import applies
from teleprefetch.model import StudyRecord, Term

# Within a band the order is that of usefulness; a weaker band never overtakes a stronger one.
_BANDS: Final = (0.95, 0.8, 0.5)
_HALF_LIFE_DAYS: Final = 15 * 365
_OTHER_MODALITY: Final = 0.8
_TWO_YEARS_DAYS: Final = 730
_UNKNOWN_AGE_DAYS: Final = 100 * 365


@dataclass(frozen=True, slots=True)
class Scored:
    """A prior with what is known of it; `age_days` is None where a date is missing."""

    study: StudyRecord
    exam: Exam
    age_days: int | None
    score: Score
    slots: tuple[Term, ...] = field(default=())

    @property
    def distance_days(self) -> int:
        """Days between the prior and the current study; a century if unknown."""
        return _UNKNOWN_AGE_DAYS if self.age_days is None else abs(self.age_days)


def useful_first(
    current: Exam, scored: Iterable[Scored], *, rules: SiteRules
) -> list[tuple[Scored, tuple[Term, ...]]]:
    """The priors in the order in which they are worth warming, each with the slots it holds.

    Usefulness is P, times a weight of the modality, times a slow decay, over one more than the
    newer priors of that modality ahead, within a band of P. A slot suspends decay and count. Below
    one half the order is that of the score alone, so that no such prior moves another.
    """
    bands: dict[int, list[Scored]] = {}
    for one in scored:
        bands.setdefault(_band(one.score.probability, rules.floor), []).append(one)
    likely = [one for band in range(len(_BANDS)) for one in bands.get(band, ())]
    slots = _slots(current, likely, rules)
    ordered: list[Scored] = []
    for band in sorted(bands):
        if band < len(_BANDS):
            ordered.extend(_by_usefulness(current, bands[band], slots))
        else:
            ordered.extend(sorted(bands[band], key=_by_score))
    return [(one, slots.get(one.study.study_instance_uid, ())) for one in ordered]


def _band(probability: float, floor: float) -> int:
    if probability < floor:
        return len(_BANDS) + 1
    return next((n for n, least in enumerate(_BANDS) if probability >= least), len(_BANDS))


def _by_score(one: Scored) -> tuple[float, int, str]:
    return (-one.score.points, one.distance_days, one.study.study_instance_uid)


def _newest_first(scored: Iterable[Scored]) -> list[Scored]:
    return sorted(scored, key=lambda one: (one.distance_days, one.study.study_instance_uid))


def _by_usefulness(
    current: Exam, band: list[Scored], slots: dict[str, tuple[Term, ...]]
) -> list[Scored]:
    ahead: Counter[str] = Counter()
    valued: list[tuple[float, int, str, Scored]] = []
    for one in _newest_first(band):
        weight = 1.0 if one.exam.modality == current.modality else _OTHER_MODALITY
        usefulness = one.score.probability * weight
        if one.study.study_instance_uid not in slots:
            decay = 0.5 ** (min(one.distance_days, _UNKNOWN_AGE_DAYS) / _HALF_LIFE_DAYS)
            usefulness *= decay / (1 + ahead[one.exam.modality])
        ahead[one.exam.modality] += 1
        valued.append((-usefulness, one.distance_days, one.study.study_instance_uid, one))
    return [one for *_, one in sorted(valued, key=lambda value: value[:3])]


def _slots(
    current: Exam, likely: Sequence[Scored], rules: SiteRules
) -> dict[str, tuple[Term, ...]]:
    """The slots by study: mammography (AJR 2016), oncology (RECIST), the site's own."""
    held: dict[str, tuple[Term, ...]] = {}
    newest = _newest_first(one for one in likely if one.age_days is not None)
    same = [one for one in newest if one.exam.modality == current.modality]
    if current.modality == "MG":
        _hold(held, same[:2], "mammography: one of two at least")
        old = [one for one in same if (one.age_days or 0) >= _TWO_YEARS_DAYS]
        _hold(held, old[:1], "mammography: two years or older")
    if "oncology" in current.flags or current.modality == "PT":
        _hold(held, same[:1], "oncology: the newest")
        _hold(held, same[-1:], "oncology: the baseline")
    for rule in rules.warm:
        if rule.oldest:
            fitting = [one for one in newest if applies(rule, current, one.exam)]
            _hold(held, fitting[-1:], oldest_slot(rule))
    return held


def oldest_slot(rule: WarmRule) -> str:
    """The reason of the slot that a rule keeps for the oldest relevant prior."""
    return f"rule {rule.name}: the oldest"


def _hold(held: dict[str, tuple[Term, ...]], kept: Sequence[Scored], reason: str) -> None:
    for one in kept:
        uid = one.study.study_instance_uid
        held[uid] = (*held.get(uid, ()), Term(term="slot", points=0, reason=reason))
