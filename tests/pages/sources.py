"""What the program says of itself: its modules' first lines, and the contracts of their imports."""

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.pages.blocks import ROOT, code, codes, table

_PLACES: Final = {"teleprefetch": ROOT / "shared/teleprefetch", "functions": ROOT / "functions"}


def first_line(module: str) -> str:
    """The first line of a module's or a package's docstring."""
    docstring = ast.get_docstring(ast.parse(_file_of(module).read_text()))
    return (docstring or "").partition("\n")[0]


def direction() -> str:
    """The packages from the top to the bottom: each may import what is below it, in Mermaid."""
    return _chain(_layers())


def node_direction() -> str:
    """The same within the node."""
    return _chain(
        [f"edge.{layer}".replace(" | ", " | edge.") for layer in _layers("teleprefetch.edge")]
    )


def pieces() -> str:
    """A row for each piece that the contracts order: what it knows, in its own words."""
    names = [
        name.strip()
        for layer in _layers()
        for name in layer.split("|")
        if name.strip() != "teleprefetch.edge"
    ]
    inner = [name.strip() for layer in _layers("teleprefetch.edge") for name in layer.split("|")]
    names += [f"teleprefetch.edge.{name}" for name in inner]
    return table(("piece", "what it knows"), ((code(name), first_line(name)) for name in names))


def forbidden() -> str:
    """What the innermost pieces may never import."""
    (contract,) = (one for one in _contracts() if one["type"] == "forbidden")
    inner, outer = contract["source_modules"], contract["forbidden_modules"]
    return f"{codes(inner)} import none of {codes(outer)}."


@cache
def _contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return contracts


def _layers(*containers: str) -> list[str]:
    """The layers of the whole, or within one package."""
    (found,) = (
        one
        for one in _contracts()
        if one["type"] == "layers" and one.get("containers", []) == [*containers]
    )
    layers: list[str] = found["layers"]
    return layers


def _chain(layers: list[str]) -> str:
    lines = ["flowchart TD"]
    for number, layer in enumerate(layers):
        names = "<br>".join(name.strip().removeprefix("teleprefetch.") for name in layer.split("|"))
        lines.append(f'  l{number}["{names}"]')
    lines.append("  " + " --> ".join(f"l{number}" for number in range(len(layers))))
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def _file_of(module: str) -> Path:
    root, *parts = module.split(".")
    path = _PLACES[root].joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
