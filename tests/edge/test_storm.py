"""Scenarios 15 and 16, small: the benchmark's world, so that it stays true between its runs."""

import pytest

from tests.benchmarks import storm
from tests.benchmarks.storm_load import fitting_units, imports, worst_share


@pytest.mark.parametrize(
    ("count", "within_s", "nodes", "at_least"), [(600, 180.0, 10, 0.95), (1500, 60.0, 1, 0.85)]
)
def test_a_storm_warms_what_fits_and_takes_nothing_from_readers(count, within_s, nodes, at_least):
    figures, world = storm.storm(imports(count, within_s), nodes=nodes)
    assert figures["warm_before_notice"] >= at_least
    assert figures["late_notices"] == 0
    assert figures["reader_throttles"] == 0
    assert figures["warming_throttles"] == 0
    assert figures["frames_refetched"] == 0
    assert figures["most_queued_units"] < 40_000
    assert world.counts["reader_requests"] > 5000


def test_after_minutes_of_nothing_but_429s_nobody_storms_back(monkeypatch):
    monkeypatch.setattr(storm, "RECOVERY", (60.0, 180.0, 300.0))
    figures = storm.recovery()
    assert figures["most_asked_after_over_limit"] < 1.5
    assert figures["asked_during_over_limit"] < 0.5
    assert figures["seconds_to_90_percent_of_warmings_share"] is not None


def test_the_bound_is_what_fits_before_the_deadlines():
    (one,) = imports(1, 1.0)
    assert fitting_units([one], units_per_s=1e9, until_s=1e6) == one.units
    assert fitting_units([one], units_per_s=0.5, until_s=10) == 5


def test_a_tenant_that_wants_little_and_has_it_has_its_fair_share():
    assert worst_share({"a": 90.0, "b": 10.0}, {"a": 500.0, "b": 10.0}) == 1.0
    assert worst_share({"a": 90.0, "b": 10.0}, {"a": 500.0, "b": 500.0}) == pytest.approx(0.2)
