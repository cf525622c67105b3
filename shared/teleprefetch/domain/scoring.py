"""How much a prior is worth to a current exam: a sum of named terms, each with its reason."""

from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp
from typing import Final

from teleprefetch.domain.exam import Exam
from teleprefetch.domain.regions import worth
from teleprefetch.domain.rules import ExtraPair, SiteRules
from teleprefetch.model import Term

ANATOMY_POINTS: Final = 60.0
UNKNOWN_POINTS: Final = 30.8
_UNKNOWN_SHARE: Final = 0.2
MIDPOINT: Final = 32.0
SCALE: Final = 6.0
_SAME_MODALITY: Final = 8.0
_OPPOSITE_SIDE: Final = -70.0
_SAME_SIDE: Final = 2.0
_SAME_TEXT: Final = 4.0
_SAME_CONTRAST: Final = 0.5
_PROCEDURE: Final = -6.0
# Under ultrasound or fluoroscopy a procedure shows the needle; a breast's shows the lesion, too.
_GUIDED: Final = -20.0
_ACCESS: Final = -34.0
_PROCEDURES: Final = frozenset({"procedure", "access"})
_OTHER_VESSELS: Final = -46.0
_VESSELS: Final = frozenset({"vein", "artery"})
_RECENT: Final = 3.0
_RECENT_HALF_LIFE_MONTHS: Final = 36
_DOUBTED: Final = 0.47


# Regions, contradicting regions, modality.
_Place = tuple[tuple[str, ...], tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Score:
    """The sum of the terms and the probability that a reader opens the prior."""

    points: float
    probability: float
    terms: tuple[Term, ...]


def score(current: Exam, prior: Exam, *, age_days: int | None, rules: SiteRules) -> Score:
    """The score of a prior, as the sum of its terms.

    Args:
        current: the exam to be read.
        prior: the exam that may help.
        age_days: from the prior to the current exam; None if either date is unknown.
        rules: the site's extra pairs are the part that counts here.
    """
    timeless = _timeless(current, prior, rules.pairs)
    terms = (*timeless, _recency(_months(age_days), is_known=_is_known(current, prior)))
    if rules.mute:
        terms = tuple(term for term in terms if term.term not in rules.mute)
    points = round(sum(term.points for term in terms), 2)
    return Score(points, probability_of(points), terms)


def probability_of(points: float) -> float:
    """The probability that a score stands for; the middle is at `MIDPOINT`."""
    return 1 / (1 + exp((MIDPOINT - points) / SCALE))


def _timeless(current: Exam, prior: Exam, pairs: tuple[ExtraPair, ...]) -> tuple[Term, ...]:
    anatomy = _anatomy(
        (current.regions, current.other_regions, current.modality),
        (prior.regions, prior.other_regions, prior.modality),
        pairs,
    )
    share = anatomy.points / ANATOMY_POINTS if _is_known(current, prior) else _UNKNOWN_SHARE
    terms = (
        anatomy,
        _modality(current.modality, prior.modality, share),
        _side(current.side, prior.side),
        _text(current.words, prior.words),
        _contrast(current.contrast, prior.contrast),
        _vessel(current.flags, prior.flags),
        _kind(current, prior),
    )
    return tuple(term for term in terms if term is not None)


@lru_cache(maxsize=16_384)
def _anatomy(current: _Place, prior: _Place, pairs: tuple[ExtraPair, ...]) -> Term:
    wanted, wanted_too, current_modality = current
    shown, shown_too, prior_modality = prior
    if not wanted or not shown:
        whose = "prior" if wanted else "current study"
        return _term("anatomy", UNKNOWN_POINTS, f"region of the {whose} unknown")
    modalities = (current_modality, prior_modality)
    value, one, other = _best(wanted, shown, modalities, pairs)
    if wanted_too or shown_too:
        doubted, *_ = _best((*wanted, *wanted_too), (*shown, *shown_too), modalities, pairs)
        if doubted * _DOUBTED > value:
            points = doubted * _DOUBTED * ANATOMY_POINTS
            return _term("anatomy", points, "by BodyPartExamined alone, against the description")
    reason = f"same region {one}" if one == other else f"{other} for {one}"
    return _term("anatomy", value * ANATOMY_POINTS, reason)


def _best(
    wanted: tuple[str, ...],
    shown: tuple[str, ...],
    modalities: tuple[str, str],
    pairs: tuple[ExtraPair, ...],
) -> tuple[float, str, str]:
    return max(
        ((_worth(one, other, modalities, pairs), one, other) for one in wanted for other in shown),
        key=lambda candidate: candidate[0],
    )


def _worth(
    one: str, other: str, modalities: tuple[str, str], pairs: tuple[ExtraPair, ...]
) -> float:
    """The shipped worth, unless the site has its own for the pair."""
    for pair in pairs:
        if (
            (pair.current_region, pair.prior_region) == (one, other)
            and pair.current_modality in (None, modalities[0])
            and pair.prior_modality in (None, modalities[1])
        ):
            return pair.value
    return worth(one, other, current_modality=modalities[0], prior_modality=modalities[1])


@lru_cache(maxsize=16_384)
def _modality(current: str, prior: str, share: float) -> Term | None:
    if not current or not prior:
        return _term("modality", 0, "modality unknown")
    if current == prior:
        return _term("modality", _SAME_MODALITY * share, f"{prior} after {current}")
    return None


@cache
def _side(current: str, prior: str) -> Term | None:
    if {current, prior} == {"L", "R"}:
        return _term("side", _OPPOSITE_SIDE, "opposite side")
    if current and current == prior:
        return _term("side", _SAME_SIDE, "same side")
    return None


def _text(current: frozenset[str], prior: frozenset[str]) -> Term | None:
    shared = len(current & prior)
    if not shared:
        return None
    return _shared_text(round(100 * shared / (len(current) + len(prior) - shared)))


@cache
def _shared_text(percent: int) -> Term:
    return _term("text", _SAME_TEXT * percent / 100, f"{percent} % of words shared")


@cache
def _contrast(current: str, prior: str) -> Term | None:
    if current and current == prior:
        return _term("contrast", _SAME_CONTRAST, f"both {current} contrast")
    return None


@lru_cache(maxsize=4_096)
def _vessel(current: frozenset[str], prior: frozenset[str]) -> Term | None:
    wanted, shown = current & _VESSELS, prior & _VESSELS
    if wanted and shown and not wanted & shown:
        return _term("vessel", _OTHER_VESSELS, "veins against arteries")
    return None


def _kind(current: Exam, prior: Exam) -> Term | None:
    if prior.modality == "XR" or not prior.flags & _PROCEDURES or current.flags & _PROCEDURES:
        return None
    if "access" in prior.flags:
        return _term("procedure", _ACCESS, "a needle or line rather than an exam")
    is_guided = prior.modality in ("US", "XA") and "BREAST" not in prior.regions
    points = _GUIDED if is_guided else _PROCEDURE
    return _term("procedure", points, "a procedure rather than an exam")


def best_case_probability(
    current: str, prior: str, *, current_modality: str, prior_modality: str, rules: SiteRules
) -> float:
    """The most that a prior of one region can reach for another, all else in its favour."""
    value = _worth(current, prior, (current_modality, prior_modality), rules.pairs)
    favour = _SAME_MODALITY * value + _SAME_SIDE + _SAME_TEXT + _SAME_CONTRAST + _RECENT
    return probability_of(value * ANATOMY_POINTS + favour)


def _is_known(current: Exam, prior: Exam) -> bool:
    return bool(current.regions) and bool(prior.regions)


def _months(age_days: int | None) -> int | None:
    return None if age_days is None else age_days // 30


@lru_cache(maxsize=4_096)
def _recency(age_months: int | None, *, is_known: bool) -> Term:
    if age_months is None:
        return _term("recency", 0, "date unknown")
    if age_months < 0:
        return _term("recency", 0, "dated after the current study")
    points = _RECENT * 0.5 ** (age_months / _RECENT_HALF_LIFE_MONTHS)
    share = 1.0 if is_known else _UNKNOWN_SHARE  # to be new is no reason to open the unknown
    return _term("recency", points * share, f"{age_months} months old")


def _term(name: str, points: float, reason: str) -> Term:
    points = round(points, 2)
    return Term(term=name, points=points, reason=reason)
