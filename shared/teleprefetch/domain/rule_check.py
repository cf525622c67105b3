"""Compares what a site's viewer hangs with what its rules would ever warm.

Agfa's IMPAX says why: display rules must be a subset of prefetch rules, or priors are pulled
during the day.
"""

from collections.abc import Iterator

from teleprefetch.domain.regions import lineage
from teleprefetch.domain.rules import Selector, SiteRules, ViewerRule, WarmRule, parse_rules
from teleprefetch.domain.scoring import best_case_probability
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Value


class Conflict(Value):
    """A viewer rule that asks for priors which the named warm rule, or the floor, never warms."""

    viewer_rule: str
    warm_rule: str
    reason: str


def conflicts(rules: SiteRules) -> tuple[Conflict, ...]:
    """Every pair of rules of which the viewer's asks for what the other never warms."""
    return tuple(
        Conflict(viewer_rule=viewer.name, warm_rule=warm_rule, reason=reason)
        for viewer in rules.viewer
        for warm_rule, reason in (*_refusals(viewer, rules), *_under_the_floor(viewer, rules))
    )


def checked(rules: SiteRules) -> SiteRules:
    """The rules themselves.

    Raises:
        InvalidPayloadError: the viewer would hang what is never warmed; names both rules.
    """
    found = conflicts(rules)
    if found:
        raise InvalidPayloadError(
            "; ".join(
                f"viewer rule {one.viewer_rule} against warm rule {one.warm_rule}: {one.reason}"
                for one in found
            )
        )
    return rules


def checked_rules(text: str, *, at: str) -> SiteRules:
    """A site's rules read from TOML and checked; raises as `parse_rules` and `checked` do."""
    rules = parse_rules(text, at=at)
    try:
        return checked(rules)
    except InvalidPayloadError as error:
        raise InvalidPayloadError(f"{at}: {error}") from error


def _refusals(viewer: ViewerRule, rules: SiteRules) -> Iterator[tuple[str, str]]:
    for warm in rules.warm:
        if _overlap(viewer, warm) and (reason := _refusal(viewer, warm)):
            yield warm.name, reason


def _refusal(viewer: ViewerRule, warm: WarmRule) -> str:
    if warm.never:
        return "never warms them"
    is_kept = warm.oldest and viewer.oldest and viewer.number == 1
    if warm.max_number is not None and viewer.number > warm.max_number and not is_kept:
        return f"warms {warm.max_number}, the viewer hangs {viewer.number}"
    if warm.max_age_days is not None and not is_kept:
        if viewer.max_age_days is None:
            return f"warms none older than {warm.max_age_days} days, the viewer hangs any age"
        if viewer.max_age_days > warm.max_age_days:
            return (
                f"warms none older than {warm.max_age_days} days, "
                f"the viewer hangs up to {viewer.max_age_days}"
            )
    if warm.same_modality and not _is_one_modality(viewer):
        return "warms the same modality only"
    return ""


def _is_one_modality(viewer: ViewerRule) -> bool:
    named = viewer.current_modality is not None
    return viewer.same_modality or (named and viewer.current_modality == viewer.prior_modality)


def _under_the_floor(viewer: ViewerRule, rules: SiteRules) -> Iterator[tuple[str, str]]:
    if viewer.current_region is None or viewer.prior_region is None:
        return
    best = best_case_probability(
        viewer.current_region,
        viewer.prior_region,
        current_modality=viewer.current_modality or "",
        prior_modality=viewer.prior_modality or "",
        rules=rules,
    )
    if best < rules.floor:
        yield "floor", f"{viewer.prior_region} for {viewer.current_region} stays under the floor"


def _overlap(one: Selector, other: Selector) -> bool:
    return (
        _regions_meet(one.current_region, other.current_region)
        and _regions_meet(one.prior_region, other.prior_region)
        and _meet(one.current_modality, other.current_modality)
        and _meet(one.prior_modality, other.prior_modality)
    )


def _meet(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def _regions_meet(one: str | None, other: str | None) -> bool:
    return _meet(one, other) or one in lineage(other or "") or other in lineage(one or "")
