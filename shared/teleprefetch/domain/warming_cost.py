"""What warming costs at the archive, and what is left out where a cap does not allow it.

Source: HealthImaging's pricing page (examples for US East, N. Virginia): $0.005 for 1,000 API
calls; $0.105 per GB (2^30 bytes) and month in the Frequent Access tier, $0.006 in Archive Instant
Access; an image set is billed as 5 MB at least. Reading an archived image set's metadata or frames
moves it back for at least 30 days (developer guide, "Cost optimization"), without a charge of its
own: what it costs is the difference of the two tiers for that month.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from teleprefetch.model import PlannedSeries

_GB: Final = 2**30
_LEAST_BILLED_BYTES: Final = 5 * 10**6
_FRAME_BYTES: Final = 200_000
_METADATA_CALLS: Final = 2
MICRO: Final = 1_000_000
"""Micro-dollars of a dollar: what costs are counted in."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars; defaults as the pricing page has them for US East (N. Virginia)."""

    per_1000_calls: float = 0.005
    frequent_per_gb_month: float = 0.105
    archive_per_gb_month: float = 0.006


class Priced(NamedTuple):
    """A series of a plan by position, with what warming it costs at most."""

    at: int
    rank: int
    micro_usd: int


def price_of(planned: PlannedSeries, prices: Prices) -> int:
    """What warming a series costs at most, in micro-dollars.

    A plan does not say in which tier an image set lies: of a prior the dearer is assumed, that it
    is archived; a study that has just come in is not.
    """
    calls = _METADATA_CALLS + planned.estimated_bytes / _FRAME_BYTES
    usd = calls * prices.per_1000_calls / 1000
    if planned.role == "prior":
        billed_bytes = max(_LEAST_BILLED_BYTES, planned.estimated_bytes)
        dearer = prices.frequent_per_gb_month - prices.archive_per_gb_month
        usd += billed_bytes / _GB * dearer
    return round(usd * MICRO)


def priced(planned: Iterable[PlannedSeries], prices: Prices) -> list[Priced]:
    """The series of a plan, the most useful first."""
    series = [
        Priced(at, 0 if one.role == "current" else one.rank, price_of(one, prices))
        for at, one in enumerate(planned)
    ]
    return sorted(series, key=lambda one: (one.rank, one.at))


def beyond(series: Iterable[Priced], cap_micro_usd: int) -> frozenset[int]:
    """The series that a cap leaves out, the least useful first; never one of the current study.

    From the first prior's series on that does not fit, all are left out: what is less useful never
    takes the place of what is more useful.
    """
    left_out: set[int] = set()
    spent = 0
    for one in series:
        if one.rank and (left_out or spent + one.micro_usd > cap_micro_usd):
            left_out.add(one.at)
        else:
            spent += one.micro_usd
    return frozenset(left_out)
