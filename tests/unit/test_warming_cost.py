"""What warming costs, and what a cap leaves out."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.warming_cost import (
    MICRO,
    Priced,
    Prices,
    beyond,
    cost_of,
    dollars,
    price_of,
    priced,
    prices_of,
)
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import PlannedSeries, Role, SeriesPointer


def planned(role: Role, rank: int, estimated_bytes: int) -> PlannedSeries:
    pointer = SeriesPointer(study_instance_uid="1.2", series_instance_uid="1.3")
    return PlannedSeries(role=role, rank=rank, series=pointer, estimated_bytes=estimated_bytes)


def test_frames_and_metadata_are_calls() -> None:
    price = price_of(planned("current", 0, 200_000 * 998), Prices())
    assert price == pytest.approx(0.005 * MICRO)


def test_a_prior_is_taken_for_archived_and_pays_a_month_of_the_dearer_tier() -> None:
    gigabyte = planned("prior", 1, 2**30)
    calls = (2 + 2**30 / 200_000) * 0.000005
    assert price_of(gigabyte, Prices()) == pytest.approx((calls + 0.099) * MICRO, abs=1)


def test_a_small_image_set_is_billed_as_5_mb() -> None:
    tiny = price_of(planned("prior", 1, 1000), Prices(per_1000_calls=0))
    assert tiny == round(5e6 / 2**30 * 0.099 * MICRO)


series = st.lists(
    st.builds(Priced, at=st.integers(0, 99), rank=st.integers(0, 5), micro_usd=st.integers(0, 900)),
    max_size=20,
    unique_by=lambda one: one.at,
).map(lambda found: sorted(found, key=lambda one: (one.rank, one.at)))


@given(series, st.integers(0, 5000))
def test_a_cap_leaves_out_the_least_useful_and_never_the_current_study(
    series: list[Priced], cap: int
) -> None:
    left_out = beyond(series, cap)
    kept = [one for one in series if one.at not in left_out]
    assert all(one.rank for one in series if one.at in left_out)
    if any(one.rank for one in kept):
        assert sum(one.micro_usd for one in kept) <= cap
    dropped = [one for one in series if one.at in left_out]
    assert all(
        (one.rank, one.at) < (other.rank, other.at) for one in kept for other in dropped if one.rank
    )


def test_series_are_priced_the_current_study_first() -> None:
    found = priced(
        [planned("prior", 2, 1), planned("current", 0, 1), planned("prior", 1, 1)], Prices()
    )
    assert [one.at for one in found] == [1, 2, 0]


TABLE = """
source = "our contract"
read_on = 2026-10-01
per_1000_calls = 0.004
per_gb_moved = 0.09
"""


def test_a_table_of_ones_own_says_whose_prices_they_are_and_keeps_the_rest() -> None:
    prices = prices_of(TABLE, at="--prices")
    assert (prices.source, prices.read_on) == ("our contract", date(2026, 10, 1))
    assert (prices.per_1000_calls, prices.per_gb_moved) == (0.004, 0.09)
    assert prices.frequent_per_gb_month == Prices().frequent_per_gb_month


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("per_1000_calls = 1", "--prices.source: missing"),
        ('source = "x"', "--prices.read_on: missing"),
        (TABLE + "per_byte = 1", "--prices.per_byte"),
        (TABLE.replace("0.09", "-1"), "--prices.per_gb_moved"),
        (TABLE.replace("0.09", "inf"), "--prices.per_gb_moved"),
        (TABLE.replace("0.09", "nan"), "--prices.per_gb_moved"),
        ("= x", "--prices: not TOML"),
    ],
)
def test_a_table_that_is_none_is_refused_by_its_key(text: str, named: str) -> None:
    with pytest.raises(InvalidPayloadError, match=named):
        prices_of(text, at="--prices")


def test_nothing_used_costs_nothing_and_a_tier_that_is_dearer_saves_nothing() -> None:
    nothing = cost_of(requests=0, moved_bytes=0, promoted_bytes=0, prices=Prices())
    assert nothing.usd == 0
    odd = Prices(archive_per_gb_month=9)
    assert cost_of(requests=0, moved_bytes=0, promoted_bytes=2**30, prices=odd).usd == 0


@pytest.mark.parametrize(
    ("usd", "told"), [(0, "0.0000"), (0.00126, "0.0013"), (1, "1.00"), (1234.5, "1,234.50")]
)
def test_an_amount_is_told_to_the_cent_or_what_is_less_finer(usd: float, told: str) -> None:
    assert dollars(usd) == told
