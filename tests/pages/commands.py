"""The commands of `teleprefetch` with their arguments and options, asked of the program."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import typer

from teleprefetch.cli import app
from tests.pages.blocks import code, codes, table


@cache
def commands() -> Mapping[str, Any]:
    """Every command by its words, such as `audit verify`."""
    return dict(_commands(typer.main.get_command(app), ()))


def options_of(name: str) -> set[str]:
    """The options that a command takes, `--help` among them."""
    found = {option for one in commands()[name].params for option in one.opts}
    return {option for option in found if option.startswith("-")} | {"--help"}


def commands_text() -> str:
    """A section for each command: what it does, how it exits, and what it takes."""
    return "\n".join(_section(name, command) for name, command in sorted(commands().items()))


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield " ".join(words), command
        return
    for name, one in inner.items():
        yield from _commands(one, (*words, name))


def _section(name: str, command: Any) -> str:
    told = (command.help or "").strip()
    rows = [
        (_name(one), _default(one), (one.help or "").strip().replace("*", "\\*"))
        for one in command.params
        if one.name != "help"
    ]
    listed = table(("argument or option", "default", "meaning"), rows) if rows else ""
    return f"#### teleprefetch {name}\n\n{told}\n\n{listed}"


def _name(parameter: Any) -> str:
    is_option = parameter.opts[0].startswith("-")
    return codes(parameter.opts) if is_option else code(parameter.name.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default
    if default in (None, "", [], (), False) or callable(default) or "/" in str(default):
        return "-"
    return code(default)
