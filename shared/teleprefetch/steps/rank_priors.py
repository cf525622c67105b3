"""State `RankPriors`: the candidates in the order a radiologist would want them, with reasons."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teleprefetch.domain.relevance import Ranking, rank_priors
from teleprefetch.domain.rules import SiteRules
from teleprefetch.model import ObjectPointer, Value
from teleprefetch.ports import Documents
from teleprefetch.prefetch import Candidates
from teleprefetch.steps.find_priors import Found, request_of


class Ranked(Value):
    """Where the ranking is written, and how many priors it holds."""

    ranking: ObjectPointer
    priors: int


def run(
    state: Mapping[str, Any], *, documents: Documents, rules: SiteRules, now: datetime
) -> Ranked:
    """Rank the candidates that `FindPriors` wrote down, and write the ranking beside them.

    Raises:
        InvalidPayloadError: the state is malformed.
        CorruptPayloadError: the candidates are cut short.
    """
    request = request_of(state)
    found = Found.parse(state.get("candidates"), at="candidates")
    candidates = documents.get(found.candidates, Candidates)
    ranking: Ranking = rank_priors(
        candidates.current, candidates.others, rules=rules, now=now.date()
    )
    pointer = documents.put(f"prefetch/{request.prefetch_id}/ranking.json", ranking)
    return Ranked(ranking=pointer, priors=len(ranking.priors))
