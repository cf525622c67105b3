"""The handlers by themselves: a wrong setting or a malformed state is an error that names it."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teleprefetch import runtime
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.lambdas import Context
from tests.builders import PIPELINE_ENVIRONMENT

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
STEPS = Path(runtime.__file__).parent / "steps"
NAMES = sorted(
    {path.stem for path in FUNCTIONS.glob("*.py")} & {p.stem for p in STEPS.glob("*.py")}
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in PIPELINE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    runtime.forget()
    yield
    runtime.forget()


def call(name: str, event: dict[str, Any]) -> Any:
    context = Context(name, f"arn:aws:lambda:us-east-1:1:function:{name}", 5)
    return importlib.import_module(f"functions.{name}").lambda_handler(event, context)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORIGINS", "{"),
        ("ORIGINS", '{"a b": {"kind": "dicomweb", "url": "http://x"}}'),
        ("ORIGINS", '{"a": {"kind": "dicomweb", "url": "http://user:secret@x"}}'),
        ("ROUTING", '{"nodes": {}, "locations": {}}'),
        ("ROUTING", '{"nodes": {"n": "https://q"}, "locations": {"home": ["other"]}}'),
        ("IMPORT_LOCATIONS", '["home", "secret"]'),
        ("BUDGET_BYTES", "0"),
        ("TABLE_NAME", ""),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidPayloadError, match=variable.lower()) as caught:
        runtime.settings()
    assert "secret" not in str(caught.value)


def test_a_location_that_imports_warm_and_nobody_routes_is_told_by_its_place_in_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMPORT_LOCATIONS", '["home", "hme"]')

    with pytest.raises(InvalidPayloadError) as caught:
        runtime.settings()

    assert str(caught.value) == (
        "settings.import_locations: Value error, location 2 of the list is not in ROUTING.locations"
    )


def test_of_a_routing_that_is_wrong_the_locations_are_not_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUTING", '{"nodes": {}, "locations": {}}')

    with pytest.raises(InvalidPayloadError) as caught:
        runtime.settings()

    assert "import_locations" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    sorted(
        set(NAMES)
        - {"__init__", "release_assignment", "record_import", "sweep_assignments", "sweep_imports"}
    ),
)
def test_a_state_that_is_not_one_is_refused_by_every_function(name: str) -> None:
    with pytest.raises(InvalidPayloadError):
        call(name, {"nothing": "here"})
