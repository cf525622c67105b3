"""runtime.rules: the functions rank and plan by the site's own rules, checked at first use."""

from collections.abc import Iterator

import pytest

from teleprefetch import runtime
from teleprefetch.domain.rules import DEFAULT_RULES
from teleprefetch.errors import InvalidPayloadError
from tests.builders import PIPELINE_ENVIRONMENT


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in PIPELINE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SITE_RULES", raising=False)
    runtime.forget()
    yield
    runtime.forget()


def test_without_a_setting_the_shipped_rules_hold() -> None:
    assert runtime.rules() == DEFAULT_RULES


def test_the_sites_rules_are_read_once_and_again_after_forgetting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SITE_RULES", 'floor = 0.6\n[[warm]]\nname = "few"\nmax_number = 2\n')

    assert runtime.rules().floor == 0.6
    assert runtime.rules().warm[0].max_number == 2
    assert runtime.rules() is runtime.rules()

    monkeypatch.setenv("SITE_RULES", "floor = 0.7")
    runtime.forget()
    assert runtime.rules().floor == 0.7


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("floor = ", r"SITE_RULES: not a TOML document at .*(line 1|end of document)"),
        ("flor = 0.5", "SITE_RULES.flor"),
        ("floor = 5", "SITE_RULES.floor"),
        ('[[warm]]\nname = "few"\nmax_numbr = 2', "SITE_RULES.warm.0.max_numbr"),
        (
            '[[viewer]]\nname = "hang"\n[[warm]]\nname = "none"\nnever = true',
            "SITE_RULES: viewer rule hang against warm rule none",
        ),
    ],
)
def test_wrong_rules_are_refused_by_the_setting_and_the_key(
    monkeypatch: pytest.MonkeyPatch, text: str, named: str
) -> None:
    monkeypatch.setenv("SITE_RULES", text)
    runtime.settings()  # functions that neither rank nor plan go on

    with pytest.raises(InvalidPayloadError, match=named):
        runtime.rules()
