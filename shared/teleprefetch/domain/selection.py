"""Which exams a rule is about."""

from teleprefetch.domain.exam import Exam
from teleprefetch.domain.regions import lineage
from teleprefetch.domain.rules import Selector


def applies(rule: Selector, current: Exam, prior: Exam) -> bool:
    """True if the rule is about such a current exam and such a prior.

    A rule about a region is about the regions in it: ABDOMEN selects LIVER, too.
    """
    return (
        rule.current_modality in (None, current.modality)
        and rule.prior_modality in (None, prior.modality)
        and _is_in(rule.current_region, current.regions)
        and _is_in(rule.prior_region, prior.regions)
    )


def _is_in(region: str | None, regions: tuple[str, ...]) -> bool:
    return region is None or any(region in lineage(one) for one in regions)
