"""The command `teleprefetch worth`: what prefetching was worth, from the audits of nodes."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console
from rich.table import Table

from teleprefetch.audit_access import record_reading
from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.times import WRITTEN, span_of
from teleprefetch.domain.warming_cost import Prices, dollars
from teleprefetch.domain.worth import By, Worth, worth_of
from teleprefetch.edge.audit import reading
from teleprefetch.errors import PrefetchError
from teleprefetch.price_files import read_prices
from teleprefetch.worth_page import page

_MISUSE: Final = 2
_MB: Final = 1_000_000
_MICRO: Final = 6


def worth(
    folders: Annotated[list[Path], typer.Argument(help="Nodes' audit folders, or copies of them.")],
    by: Annotated[By, typer.Option(help="What the lines are told by.")] = "all",
    since: Annotated[str | None, typer.Option(help=f"From: {WRITTEN}.")] = None,
    until: Annotated[str | None, typer.Option(help=f"To: {WRITTEN}.")] = None,
    round_trip_ms: Annotated[
        float, typer.Option(min=0, help="To the archive, for the wait that readers were saved.")
    ] = 150,
    bandwidth_mbit: Annotated[
        float, typer.Option(min=0.001, help="To the archive, Mbit/s, for the same.")
    ] = 100,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="TOML: source, read_on, per_1000_calls, frequent_per_gb_month,"
            " archive_per_gb_month, per_gb_moved, in US$; else HealthImaging's examples."
        ),
    ] = None,
    form: Annotated[
        Literal["table", "json", "csv", "html"],
        typer.Option("--format", help="html is a page to print."),
    ] = "table",
    who: Annotated[str | None, typer.Option("--as", help="Who reads; else the login name.")] = None,
    is_copy: Annotated[
        bool,
        typer.Option("--copy", help="They are copies; that they are read is not recorded."),
    ] = False,
) -> None:
    """Hit rate, waste, late studies and cost of what was warmed, from what was really read.

    A hit is a frame that came from the store; waste is what was warmed and opened by nobody; a
    study is late if an order had listed it and a reader still waited for the archive. The cost is
    that of the archive's calls, of bytes on the way, and of priors that reading brings out of its
    cheaper tier, at most. Exit code 0: told. 2: an option or a file is not what it should be.
    """
    try:
        times = span_of(since, until, now=datetime.now(UTC))
        table = read_prices(prices, at="--prices")
        lines = worth_of(chain.from_iterable(_read(folders, times, who, is_copy)), by=by)
    except PrefetchError as error:
        typer.echo(f"teleprefetch: {error}", err=True)
        raise typer.Exit(_MISUSE) from None
    rows = [_row(line, round_trip_ms / 1000, bandwidth_mbit * 1e6, table) for line in lines]
    if form == "json":
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif form == "csv":
        _write_csv(rows)
    elif form == "html":
        sys.stdout.write(page(rows, by=by, times=times, prices=table))
    else:
        _print_table(rows, by, table)


def _read(
    folders: Sequence[Path],
    times: tuple[datetime | None, datetime | None],
    who: str | None,
    is_copy: bool,
) -> Iterator[Iterator[Entry]]:
    since, until = times
    for folder in folders:
        if not is_copy:
            record_reading(folder, who, asked="worth")
        yield (
            entry
            for entry in reading.entries(folder)
            if (since is None or since <= entry.at) and (until is None or entry.at <= until)
        )


def _row(line: Worth, round_trip_s: float, bandwidth_bps: float, prices: Prices) -> dict[str, Any]:
    cost = line.cost(prices)
    saved_s = line.wait_saved_s(round_trip_s=round_trip_s, bandwidth_bps=bandwidth_bps)
    return asdict(line) | {
        "hit_rate": line.hit_rate,
        "hit_rate_bytes": line.hit_rate_bytes,
        "waste_bytes": line.waste_bytes,
        "waste": line.waste,
        "wait_saved_s": round(saved_s, 1),
        "requests": line.requests,
        "moved_bytes": line.moved_bytes,
        "cost_requests_usd": round(cost.requests_usd, _MICRO),
        "cost_moved_usd": round(cost.moved_usd, _MICRO),
        "cost_promotions_usd": round(cost.promotions_usd, _MICRO),
        "cost_usd": round(cost.usd, _MICRO),
        "prices_source": prices.source,
        "prices_read_on": prices.read_on.isoformat(),
    }


def _write_csv(rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _print_table(rows: Sequence[dict[str, Any]], by: str, prices: Prices) -> None:
    table = Table(
        title=f"What prefetching was worth, by {by}",
        caption=f"Prices: {prices.source}, as of {prices.read_on}",
    )
    table.add_column(by)
    for name in (
        "studies", "MB warmed", "opened", "waste", "hit rate", "late", "wait saved", "requests",
        "MB moved", "US$",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["group"],
            str(row["warmed_studies"]),
            f"{row['warmed_bytes'] / _MB:,.1f}",
            f"{row['opened_bytes'] / _MB:,.1f}",
            _percent(row["waste"]),
            _percent(row["hit_rate"]),
            str(row["late_studies"]),
            f"{row['wait_saved_s']:,.1f} s",
            f"{row['requests']:,}",
            f"{row['moved_bytes'] / _MB:,.1f}",
            dollars(row["cost_usd"]),
        )
    Console().print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
