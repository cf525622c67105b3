"""The figures that a ranking earns on labelled cases."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from teleprefetch.model import StudyRecord


@dataclass(frozen=True)
class Pair:
    """A labelled prior with what the ranking made of it; `rank` is 1 for the most useful."""

    prior: StudyRecord
    is_relevant: bool
    score: float
    probability: float
    rank: int
    size_bytes: int
    is_opposite: bool


@dataclass(frozen=True)
class Case:
    """A current study and its labelled priors in ranking order."""

    current: StudyRecord
    pairs: tuple[Pair, ...]
    taken: frozenset[str]


def ndcg_10(relevances: Sequence[bool]) -> float:
    """The discounted gain of the first ten over that of the best order."""
    best = sum(1 / math.log2(n + 2) for n in range(min(10, sum(relevances))))
    return sum(1 / math.log2(n + 2) for n, hit in enumerate(relevances[:10]) if hit) / best


def roc_auc(pairs: Iterable[Pair]) -> float:
    """The share of (relevant, irrelevant) pairs in the right order; a tie is half."""
    by_score: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for pair in pairs:
        by_score[pair.score][pair.is_relevant] += 1
    won = 0.0
    below = positives = 0
    for score in sorted(by_score):
        misses, hits = by_score[score]
        won += hits * (below + misses / 2)
        below, positives = below + misses, positives + hits
    return won / (below * positives) if below and positives else math.nan


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else math.nan


def _orders(cases: Iterable[Case]) -> Iterator[list[bool]]:
    for case in cases:
        order = [pair.is_relevant for pair in case.pairs]
        if any(order):
            yield order


def measures(cases: Sequence[Case]) -> dict[str, float | int]:
    """The figures over cases."""
    pairs = [pair for case in cases for pair in case.pairs]
    outcomes = [(pair.probability >= 0.5, pair.is_relevant) for pair in pairs]
    hits = sum(guess and truth for guess, truth in outcomes)
    wrong = sum(guess != truth for guess, truth in outcomes)
    orders = list(_orders(cases))
    return {
        "cases": len(cases),
        "pairs": len(pairs),
        "relevant": sum(pair.is_relevant for pair in pairs),
        "accuracy": 1 - wrong / len(pairs) if pairs else math.nan,
        "f1": 2 * hits / (2 * hits + wrong) if hits or wrong else math.nan,
        "roc_auc": roc_auc(pairs),
        "ndcg_10": _mean(map(ndcg_10, orders)),
        "p_1": _mean(float(order[0]) for order in orders),
        "left_right_mistakes": sum(map(_left_right_mistakes, cases)),
    }


def _left_right_mistakes(case: Case) -> int:
    """Opposite, irrelevant priors that are called relevant or stand above a relevant one."""
    last = max((pair.rank for pair in case.pairs if pair.is_relevant), default=0)
    return sum(
        pair.is_opposite and not pair.is_relevant and (pair.probability >= 0.5 or pair.rank < last)
        for pair in case.pairs
    )


def warming(cases: Sequence[Case]) -> dict[str, float]:
    """What the plans warm within the budget: of the relevant studies, and in vain."""
    pairs = [
        (pair, pair.prior.study_instance_uid in case.taken) for case in cases for pair in case.pairs
    ]
    warmed = [pair for pair, is_taken in pairs if is_taken]
    total = sum(pair.size_bytes for pair in warmed)
    relevant = sum(pair.is_relevant for pair, _ in pairs)
    return {
        "relevant_warmed": sum(p.is_relevant for p in warmed) / relevant if relevant else math.nan,
        "bytes_wasted": sum(p.size_bytes for p in warmed if not p.is_relevant) / total
        if total
        else 0.0,
        "bytes_warmed": total,
    }
