"""The command `teleprefetch what-if`: a changed rule file over past prefetches."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from teleprefetch.adapters.past_prefetches import PastInFolder, PastOnS3
from teleprefetch.audit_access import record_reading
from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.audit.questions import opened_studies
from teleprefetch.domain.counterfactual import Counterfactual, Past, replay_rules, rows_of
from teleprefetch.domain.rules import DEFAULT_RULES
from teleprefetch.domain.times import WRITTEN, span_of
from teleprefetch.edge.audit import reading
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.rule_files import read_rules

_PROBLEM, _MISUSE = 1, 2
_MB: Final = 1_000_000
_SHOWN: Final = 20


def what_if(
    documents: Annotated[
        str, typer.Argument(help="The documents bucket, s3://NAME, or a folder that copies it.")
    ],
    rules: Annotated[Path, typer.Option(help="TOML of the rules to try.")],
    current_rules: Annotated[
        Path | None, typer.Option(help="TOML of the rules in force; else the shipped ones.")
    ] = None,
    audit: Annotated[
        list[Path],
        typer.Option(help="A node's audit folder, or a copy: what readers opened. Repeatable."),
    ] = [],  # noqa: B006 - typer's way
    budget_mb: Annotated[
        float, typer.Option(min=0.000001, help="What one plan may take, in MB (10^6 bytes).")
    ] = 2000,
    since: Annotated[str | None, typer.Option(help=f"From: {WRITTEN}.")] = None,
    until: Annotated[str | None, typer.Option(help=f"To: {WRITTEN}.")] = None,
    who: Annotated[
        str | None, typer.Option("--as", help="Who reads the audit; else the login name.")
    ] = None,
    is_copy: Annotated[
        bool, typer.Option("--copy", help="The audits are copies; reading is not recorded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run changed rules over past prefetches, and tell what they would have warmed instead.

    Nothing is warmed and nothing changed. Exit code 0: told. 1: a document is damaged, or the
    bucket does not answer. 2: an option, a rule or a folder is not what it should be.
    """
    try:
        old = read_rules(current_rules, at="--current-rules") if current_rules else DEFAULT_RULES
        new = read_rules(rules, at="--rules")
        span = span_of(since, until, now=datetime.now(UTC))
        opened = opened_studies(_entries(audit, who, is_copy))
        told = replay_rules(
            _shown(_past(documents).between(span)),
            old=old,
            new=new,
            budget_bytes=max(1, int(budget_mb * _MB)),
            opened=opened,
        )
    except InvalidPayloadError as error:
        _fail(str(error), _MISUSE)
    except PrefetchError as error:
        _fail(str(error), _PROBLEM)
    if as_json:
        sys.stdout.write(json.dumps(to_jsonable_python(told), indent=2) + "\n")
    else:
        _print(told, has_audit=bool(audit))


def _past(documents: str) -> PastInFolder | PastOnS3:
    if not documents.startswith("s3://"):
        return PastInFolder(Path(documents))
    import boto3

    return PastOnS3(boto3.client("s3"), documents.removeprefix("s3://").rstrip("/"))


def _entries(folders: Iterable[Path], who: str | None, is_copy: bool) -> Iterator[Entry]:
    for folder in folders:
        if not is_copy:
            record_reading(folder, who, asked="what-if")
        yield from reading.entries(folder)


def _shown(past: Iterable[Past]) -> Iterator[Past]:
    """The same, with their number on standard error as they are worked on."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.completed} prefetches"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        for one in past:
            yield one
            progress.advance(task)


def _print(told: Counterfactual, *, has_audit: bool) -> None:
    console = Console(highlight=False, markup=False)
    table = Table(title=f"{told.prefetches} prefetches under both sets of rules")
    for name in ("", "now", "with the new rules", "difference"):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows_of(told, has_audit=has_audit):
        table.add_row(*row)
    console.print(table)
    console.print(f"{len(told.changes)} plans differ")
    for change in told.changes[:_SHOWN]:
        said = change.effect
        console.print(
            f"  {change.prefetch_id}: {len(said.enters)} enter, {len(said.leaves)} leave,"
            f" {len(said.moves)} change their place"
        )
    if len(told.changes) > _SHOWN:
        console.print(f"  and {len(told.changes) - _SHOWN} more; --json has them all")


def _fail(message: str, exit_code: int) -> NoReturn:
    typer.echo(f"teleprefetch: {message}", err=True)
    raise typer.Exit(exit_code)
