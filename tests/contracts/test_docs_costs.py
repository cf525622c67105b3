"""The page of costs is what is computed, from prices whose pages are named or that say so."""

import tomllib
from dataclasses import replace

import pytest

from teleprefetch.domain.warming_cost import Prices
from tests.pages.costs import LINES, PRICES, Site, costs_table, invocations, transitions

GIVEN = tomllib.loads(PRICES.read_text())


def a_site(studies_a_day: int = 100) -> Site:
    return Site(GIVEN, studies_a_day)


def test_the_prices_of_healthimaging_are_those_that_nodes_reckon_with() -> None:
    site, prices = a_site(), Prices()

    assert site.usd("healthimaging_call") == pytest.approx(prices.per_1000_calls / 1000)
    dearer = prices.frequent_per_gb_month - prices.archive_per_gb_month
    assert site.usd("healthimaging_tier") == pytest.approx(dearer)


def test_every_price_names_its_page_or_is_called_an_assumption() -> None:
    page = (PRICES.parents[2] / "shared/docs/costs.md").read_text()
    assumed = [one for one in GIVEN["price"].values() if "source" not in one]

    assert page.count("**assumed**") == len(assumed) + 1  # and once where the word is explained


def test_every_price_is_used() -> None:
    used: set[str] = set()

    class Watching(Site):
        def usd(self, name: str) -> float:
            used.add(name)
            return super().usd(name)

    for _, formula in LINES.values():
        formula(Watching(GIVEN, 100))

    assert used == set(GIVEN["price"])


def test_ten_times_the_studies_cost_ten_times_what_is_paid_by_the_study() -> None:
    one, ten = a_site(1000), a_site(10_000)

    for name in ("functions", "state machines", "table", "documents", "HealthImaging: calls"):
        formula = LINES[name][1]
        assert formula(ten) == pytest.approx(10 * formula(one)), name


def test_a_line_by_hand() -> None:
    # 100 studies a day, 30 days, 0.000025 a transition
    by_hand = 3000 * transitions() * 0.000025

    assert LINES["state machines"][1](a_site()) == pytest.approx(by_hand)
    assert transitions() > 20 > invocations() > 8


@pytest.mark.parametrize("studies_a_day", [100, 1_000, 10_000])
def test_the_machinery_is_a_few_percent_as_the_page_says(studies_a_day: int) -> None:
    site = a_site(studies_a_day)
    machinery = ("functions", "state machines", "events, queues", "table", "documents")
    together = sum(formula(site) for _, formula in LINES.values())

    assert sum(LINES[name][1](site) for name in machinery) < 0.05 * together


def test_nodes_are_as_many_as_hold_the_days_that_are_kept() -> None:
    # 0.3 + 2 x 0.2 = 0.7 GB a study, 3 days, 800 GB a node
    assert [a_site(number).nodes for number in (100, 380, 382, 10_000)] == [1, 1, 2, 27]


def test_other_numbers_of_studies_can_be_asked_for() -> None:
    assert "| 250 a day |" in costs_table(daily=(250,))
    assert replace(a_site(), studies_a_day=5).studies == 150
