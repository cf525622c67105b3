"""What warming costs at the archive, and what is left out where a cap does not allow it.

Source: HealthImaging's pricing page: calls are paid by the thousand, storage by GB (2^30 bytes)
and month in two tiers; an image set is billed as 5 MB at least. Reading an archived image set's
metadata or frames moves it back for at least 30 days (developer guide, "Cost optimization"),
without a charge of its own: what it costs is the difference of the two tiers for that month.
"""

import tomllib
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import PlannedSeries, Value

PROMOTED_FOR: Final = timedelta(days=30)
"""How long what was read stays in the dearer tier at least."""
METADATA_CALLS: Final = 2
"""A series' metadata are GetImageSetMetadata and GetDICOMSeriesMetadata."""
_GB: Final = 2**30
_LEAST_BILLED_BYTES: Final = 5 * 10**6
_FRAME_BYTES: Final = 200_000
MICRO: Final = 1_000_000
"""Micro-dollars of a dollar: what costs are counted in."""


Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(Value):
    """A table of prices in US dollars, with where it is from and when it was read.

    The defaults are the pricing page's examples for US East (N. Virginia). `per_gb_moved` is what
    the way to the node costs: nothing within a Region, else what its network asks.
    """

    source: str = "https://aws.amazon.com/healthimaging/pricing/ (US East, N. Virginia)"
    read_on: date = date(2026, 11, 24)
    per_1000_calls: Usd = 0.005
    frequent_per_gb_month: Usd = 0.105
    archive_per_gb_month: Usd = 0.006
    per_gb_moved: Usd = 0

    @property
    def promotion_per_gb(self) -> float:
        """What a month in the dearer tier costs more."""
        return max(0.0, self.frequent_per_gb_month - self.archive_per_gb_month)


class Cost(NamedTuple):
    """US dollars, by what they are for."""

    requests_usd: float
    moved_usd: float
    promotions_usd: float

    @property
    def usd(self) -> float:
        """All of it."""
        return self.requests_usd + self.moved_usd + self.promotions_usd


def prices_of(text: str, *, at: str) -> Prices:
    """A table of prices from TOML, which says where it is from and when it was read.

    Raises:
        InvalidPayloadError: it is no TOML, lacks `source` or `read_on`, or a price is unknown or
            no price; names the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise InvalidPayloadError(f"{at}: not TOML") from None
    for key in ("source", "read_on"):
        if key not in document:
            raise InvalidPayloadError(
                f"{at}.{key}: missing; say where the prices are from, and when"
            )
    return Prices.parse(document, at=at)


def cost_of(*, requests: int, moved_bytes: int, promoted_bytes: int, prices: Prices) -> Cost:
    """What was used, priced.

    Args:
        requests: calls to the archive.
        moved_bytes: bytes that it sent.
        promoted_bytes: bytes, as billed, that came out of the cheaper tier by it.
        prices: what things cost.
    """
    return Cost(
        requests * prices.per_1000_calls / 1000,
        moved_bytes / _GB * prices.per_gb_moved,
        promoted_bytes / _GB * prices.promotion_per_gb,
    )


def billed_bytes(size_bytes: int) -> int:
    """The size that an image set is billed by."""
    return max(_LEAST_BILLED_BYTES, size_bytes)


def dollars(usd: float) -> str:
    """An amount as people read it: cents, and what is less than a dollar to a hundredth of one."""
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.4f}"


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
    calls = METADATA_CALLS + planned.estimated_bytes / _FRAME_BYTES
    usd = calls * prices.per_1000_calls / 1000
    if planned.role == "prior":
        usd += billed_bytes(planned.estimated_bytes) / _GB * prices.promotion_per_gb
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
