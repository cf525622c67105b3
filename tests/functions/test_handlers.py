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
