"""Bytes left over rate against time left, and what is put off."""

from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.lateness import Forecast, Left, Rate, too_late

lefts = st.lists(
    st.builds(
        Left, at=st.integers(0, 99), rank=st.integers(0, 9), left_bytes=st.integers(0, 10**9)
    ),
    max_size=20,
    unique_by=lambda one: one.at,
)


def test_a_forecast_says_how_late_it_will_be() -> None:
    forecast = Forecast(left_bytes=10_000_000, rate_bytes_per_s=100_000, time_left_s=40)
    assert (forecast.needed_s, forecast.late_s) == (100, 60)
    assert forecast.words(3) == (
        "forecast: 10.0 MB left at 0.10 MB/s take 100 s of 40 s: 60 s late;"
        " the least useful 3 series come last"
    )


def test_what_is_in_time_is_not_called_late() -> None:
    assert Forecast(1000, 1000, 2).words(0) == (
        "forecast: 0.0 MB left at 0.00 MB/s take 1 s of 2 s"
    )


@given(lefts, st.floats(0, 1e10))
def test_the_least_useful_are_put_off_first_and_no_more_than_must_be(
    left: list[Left], fitting_bytes: float
) -> None:
    late = too_late(left, fitting_bytes)
    kept = [one for one in left if one.left_bytes and one.at not in late]
    dropped = [one for one in left if one.at in late]
    for one in kept:
        assert all((one.rank, one.at) < (other.rank, other.at) for other in dropped)
    if dropped:
        assert sum(one.left_bytes for one in kept) >= fitting_bytes
    before_last = sum(one.left_bytes for one in sorted(kept, key=lambda x: (x.rank, x.at))[:-1])
    assert not kept or before_last < max(fitting_bytes, 1e-9) or before_last == 0


def test_a_rate_is_of_the_seconds_in_which_something_came() -> None:
    rate = Rate()
    assert rate.bytes_per_s() is None
    for second in (0.1, 0.9, 1.5, 60.2, 61.0):
        rate.note(1000, second)
    assert rate.bytes_per_s() == 4000 / 3


def test_a_rate_forgets() -> None:
    rate = Rate()
    for second in range(100):
        rate.note(10**6 if second < 50 else 1000, float(second))
    assert rate.bytes_per_s() == 1000
