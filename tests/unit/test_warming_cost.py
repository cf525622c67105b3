"""What warming costs, and what a cap leaves out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.warming_cost import MICRO, Priced, Prices, beyond, price_of, priced
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
