"""What another set of rules would have changed over past prefetches, before it goes live.

Each prefetch is ranked and planned twice, from the candidates that it really had, as of its own
day; what readers opened afterwards says which of the two plans would have served them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from teleprefetch.domain.explain import Explanation, RuleEffect, effect, explain
from teleprefetch.domain.rules import SiteRules
from teleprefetch.prefetch import Candidates

_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One prefetch as it was: its candidates, and the day it ran."""

    prefetch_id: str
    on: date
    candidates: Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the plans of one set of rules come to; bytes are the plans' estimates.

    Of the priors that readers opened, `opened_warm` were in a plan whole or in part, and
    `opened_cold` were not; `unopened_bytes` were planned for priors that nobody opened.
    """

    planned_bytes: int = 0
    priors_planned: int = 0
    opened_warm: int = 0
    opened_cold: int = 0
    unopened_bytes: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """The sum of both."""
        return Figures(
            planned_bytes=self.planned_bytes + other.planned_bytes,
            priors_planned=self.priors_planned + other.priors_planned,
            opened_warm=self.opened_warm + other.opened_warm,
            opened_cold=self.opened_cold + other.opened_cold,
            unopened_bytes=self.unopened_bytes + other.unopened_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the new rules change about one prefetch."""

    prefetch_id: str
    study_instance_uid: str
    effect: RuleEffect

    @property
    def is_any(self) -> bool:
        """True if the plan differs, in what it holds or in its order."""
        return bool(self.effect.enters or self.effect.leaves or self.effect.moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """Both sets of rules over the same past, and the prefetches whose plans differ."""

    prefetches: int
    before: Figures
    after: Figures
    changes: tuple[Change, ...]


def replay_rules(
    past: Iterable[Past],
    *,
    old: SiteRules,
    new: SiteRules,
    budget_bytes: int,
    opened: Collection[str],
) -> Counterfactual:
    """The past under the old rules and under the new.

    Args:
        past: the prefetches; each is read once.
        old: the rules in force.
        new: the rules that are tried.
        budget_bytes: what one plan may take.
        opened: the StudyInstanceUIDs of which readers were sent frames.
    """
    prefetches, before, after = 0, Figures(), Figures()
    changes: list[Change] = []
    for one in past:
        was, would_be = (
            explain(
                one.candidates.current,
                one.candidates.others,
                rules=rules,
                budget_bytes=budget_bytes,
                now=one.on,
            )
            for rules in (old, new)
        )
        prefetches += 1
        before = before.plus(_figures(was, opened))
        after = after.plus(_figures(would_be, opened))
        change = Change(
            prefetch_id=one.prefetch_id,
            study_instance_uid=one.candidates.current.study_instance_uid,
            effect=effect(was, would_be),
        )
        if change.is_any:
            changes.append(change)
    return Counterfactual(prefetches=prefetches, before=before, after=after, changes=tuple(changes))


def rows_of(told: Counterfactual, *, has_audit: bool) -> tuple[tuple[str, str, str, str], ...]:
    """The figures for a table: what is counted, under the old rules, under the new, the difference.

    Without an audit nobody knows what readers opened, and nothing of it is told.
    """
    before, after = told.before, told.after
    figures: list[tuple[str, float, float]] = [
        ("MB planned", before.planned_bytes / _MB, after.planned_bytes / _MB),
        ("priors planned", before.priors_planned, after.priors_planned),
    ]
    if has_audit:
        unopened_mb = before.unopened_bytes / _MB, after.unopened_bytes / _MB
        figures += [
            ("opened priors that were planned", before.opened_warm, after.opened_warm),
            ("opened priors that were not", before.opened_cold, after.opened_cold),
            ("MB for priors nobody opened", *unopened_mb),
        ]
    return tuple(_row(*figure) for figure in figures)


def _row(name: str, before: float, after: float) -> tuple[str, str, str, str]:
    digits = 1 if name.startswith("MB") else 0
    difference = f"{after - before:+,.{digits}f}"
    return name, f"{before:,.{digits}f}", f"{after:,.{digits}f}", difference


def _figures(explained: Explanation, opened: Collection[str]) -> Figures:
    planned = [prior for prior in explained.priors if prior.fate != "left out"]
    warm = {prior.seen.study_instance_uid for prior in planned}
    every = {prior.seen.study_instance_uid for prior in explained.priors}
    every |= {doubt.seen.study_instance_uid for doubt in explained.doubtful}
    read = every & set(opened)
    return Figures(
        planned_bytes=explained.planned_bytes,
        priors_planned=len(planned),
        opened_warm=len(read & warm),
        opened_cold=len(read - warm),
        unopened_bytes=sum(
            prior.planned_bytes for prior in planned if prior.seen.study_instance_uid not in opened
        ),
    )
