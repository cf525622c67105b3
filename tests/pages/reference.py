"""Settings, errors, metrics and parameters as tables, out of the code that has them."""

import ast
import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from teleprefetch import errors, settings
from teleprefetch.console import settings as console_settings
from teleprefetch.console.settings import ConsoleSettings
from teleprefetch.domain import rules
from teleprefetch.edge.dicomweb.messages import Request, Response
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.watching.board import Board
from teleprefetch.model import Value
from teleprefetch.settings import NodeSettings, PipelineSettings
from teleprefetch.token_settings import TOKEN_SETTINGS
from tests.pages.blocks import ROOT, code, codes, table
from tests.pages.machines import machine, machine_names, retried_and_caught, template
from tests.pages.schemas import type_of

SETTINGS: Final[Mapping[str, type[Value]]] = {
    "pipeline": PipelineSettings,
    "node": NodeSettings,
    "console": ConsoleSettings,
}


_NO_JSON: Final = {"Gate", "Selector"}  # made of settings, and the common part of rules


def _values_in(module: ModuleType) -> list[type[Value]]:
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Value) and one.__module__ == module.__name__
    ]


INNER: Final[tuple[type[Value], ...]] = tuple(
    one
    for module in (settings, console_settings, rules)
    for one in _values_in(module)
    if one not in SETTINGS.values() and one.__name__ not in _NO_JSON
)
"""Every value that a setting holds, as JSON or as TOML."""


@cache
def words() -> dict[str, dict[str, str]]:
    """What a person has said of each setting and metric."""
    path = Path(__file__).parent / "settings.toml"
    return tomllib.loads(path.read_text())


def said(section: str, name: str) -> str:
    """What a person has said of one of them.

    Raises:
        KeyError: nothing; the message says where to.
    """
    told = words()[section].get(name)
    if not told:
        raise KeyError(f"tests/pages/settings.toml, [{section}]: nothing is said of {name}")
    return told


def settings_table(kind: str) -> str:
    """A row for each setting: its variable, its default, and what it means."""
    rows = [
        (code(name.upper()), _default(field), said(kind, name))
        for name, field in SETTINGS[kind].model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def authorizer_settings() -> str:
    """A row for each setting of the authorizer."""
    rows = [(code(name.upper()), said("authorizer", name)) for name in TOKEN_SETTINGS]
    return table(("variable", "meaning"), rows)


def inner_table(name: str) -> str:
    """The fields of a value that a setting holds as JSON."""
    (model,) = (one for one in INNER if one.__name__ == name)
    schema = model.model_json_schema()
    rows = [
        (
            code(field),
            _kind(given),
            "needed"
            if field in schema.get("required", ())
            else code(json.dumps(given.get("default"))),
            _said_of_field(name, field),
        )
        for field, given in schema["properties"].items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _said_of_field(model: str, field: str) -> str:
    """What is said of a field; of the fields of every rule it is said once."""
    return words()["selector"].get(field) or said("fields", f"{model}.{field}")


def plain_table(section: str) -> str:
    """Names and their meanings, as a person wrote them; tests hold them against the code."""
    return table(
        ("name", "meaning"), ((code(name), told) for name, told in words()[section].items())
    )


def errors_table() -> str:
    """A row for each error: what it means, and what the machines do about it."""
    rows = []
    for name in sorted(errors.LEAVES):
        told = (getattr(errors, name).__doc__ or "").partition("\n")[0]
        retried, caught = _handling(name)
        rows.append((code(name), told, codes(retried), codes(caught)))
    return table(("error", "meaning", "tried again in", "caught by name in"), rows)


def emf_metrics() -> list[str]:
    """The metrics that functions write in the embedded metric format."""
    found = set()
    for path in (ROOT / "functions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_metric"
            if is_call and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return sorted(found)


def node_emf_metrics() -> list[str]:
    """The metrics that a node writes to its log for CloudWatch: the keys of what it measures."""
    source = ROOT / "shared/teleprefetch/edge/watching/measures.py"
    return sorted(
        str(key.value)
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    )


def node_emf_table() -> str:
    """A row for each metric that a node writes to its log."""
    names = node_emf_metrics()
    return table(("metric", "what"), ((code(name), said("node_metrics", name)) for name in names))


def emf_table() -> str:
    """A row for each metric of the functions."""
    return table(
        ("metric", "counts"), ((code(name), said("metrics", name)) for name in emf_metrics())
    )


def node_metrics() -> list[tuple[str, str, str]]:
    """Name, type and help of each metric of a node, from what it answers at /metrics."""
    board = Board()
    empty: Any = SimpleNamespace(rows=tuple)
    try:
        answering = Routes(empty, is_ready=lambda: True, board=board)
        request = Request("GET", "/metrics", (), {})
        response = answering.answer(request, answering.place_of(request), sees=tuple)
    finally:
        board.close()
    assert isinstance(response, Response)
    (content,) = response.body
    assert isinstance(content, bytes)
    return _described(content.decode().splitlines())


def node_metrics_table() -> str:
    """A row for each metric of a node."""
    return table(
        ("metric", "type", "what"),
        ((code(name), kind, told) for name, kind, told in node_metrics()),
    )


def parameters_table() -> str:
    """A row for each parameter of the template."""
    rows = [
        (code(name), code(given.get("Default", "")) or "-", given.get("Description", ""))
        for name, given in template()["Parameters"].items()
    ]
    return table(("parameter", "default", "meaning"), rows)


def outputs_table() -> str:
    """A row for each output of the template."""
    rows = [
        (code(name), given.get("Description", "")) for name, given in template()["Outputs"].items()
    ]
    return table(("output", "meaning"), rows)


def _described(lines: Iterable[str]) -> list[tuple[str, str, str]]:
    helps: dict[str, str] = {}
    found = []
    for line in lines:
        if line.startswith("# HELP "):
            name, _, told = line.removeprefix("# HELP ").partition(" ")
            helps[name] = told
        if line.startswith("# TYPE "):
            name, _, kind = line.removeprefix("# TYPE ").partition(" ")
            found.append((name, kind, helps[name]))
    return found


def _handling(error: str) -> tuple[list[str], list[str]]:
    retried, caught = [], []
    for name in machine_names():
        for state, again, stopped in retried_and_caught(machine(name)["States"]):
            retried += [state] if error in again else []
            caught += [state] if error in stopped else []
    return retried, caught


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, dict) and default:
        plain = {key: one.model_dump(exclude_none=True) for key, one in default.items()}
        return code(json.dumps(plain))
    empty = default in (None, "", (), {})
    return "empty" if empty else code(json.dumps(default))


def _kind(given: dict[str, Any]) -> str:
    if "additionalProperties" in given:
        return f"object of {type_of(given['additionalProperties'])}"
    return type_of(given)
