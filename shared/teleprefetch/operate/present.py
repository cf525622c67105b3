"""What operators' commands print: a table for people, or one JSON object for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from teleprefetch.errors import InvalidPayloadError, PrefetchError

PROBLEM, MISUSE = 1, 2
_WIDE: Final = 200  # columns of a table that goes to a file or a program
_WHOLE: Final = frozenset({"at", "run", "now runs", "node"})


def out() -> Console:
    """The console of the answer; without colours where NO_COLOR is set or nobody looks."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def say(line: str) -> None:
    """Tell how far something is, beside the answer."""
    Console(stderr=True, highlight=False).print(line, markup=False)


def print_json(document: Any) -> None:
    """Print the answer as one JSON object."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str
) -> None:
    """Print rows under their columns, or what to say where there are none."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        # what is copied into the next command stays in one piece
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    count = 0
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
        count += 1
    console = out()
    if count:
        console.print(table, soft_wrap=False)
    else:
        console.print(f"{title}: {empty}" if title else empty, markup=False)


def print_told(told: Mapping[str, object], line: str, *, as_json: bool) -> None:
    """Print what was done: in one line, or as one JSON object."""
    if as_json:
        print_json(told)
    else:
        out().print(line, markup=False)


def plain(cell: object) -> str:
    """A cell as text; what others wrote is no markup."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(cell).replace("[", "\\[")


def refuse(message: str) -> NoReturn:
    """End with the words of a misuse."""
    complain(message)
    raise typer.Exit(MISUSE)


def complain(message: str) -> None:
    """Tell what is wrong, beside the answer, in one line."""
    console = Console(stderr=True, highlight=False)
    console.print(f"teleprefetch: {message}", markup=False, soft_wrap=True)


def answered(action: Callable[[], int]) -> NoReturn:
    """End with the exit code of an action; an error of ours is told in its own words.

    InvalidPayloadError is a misuse (2), every other a problem (1).
    """
    try:
        code = action()
    except InvalidPayloadError as error:
        refuse(str(error))
    except PrefetchError as error:
        complain(f"{type(error).__name__}: {error}")
        raise typer.Exit(PROBLEM) from None
    raise typer.Exit(code)
