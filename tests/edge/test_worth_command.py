"""`teleprefetch worth` as somebody who answers for the costs runs it."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from teleprefetch.cli import app
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.reading import entries
from tests.audit_builders import NODE, START, a_record

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One study warmed and half opened; one warmed for nobody, a day later."""
    time = START
    log = AuditLog(Lane(tmp_path / "audit", node=NODE, name="worker"), clock=lambda: time)
    for study, days in (("1.1", 0), ("1.2", 1)):
        time = START + timedelta(days=days)
        detail = {"rank": days, "frames": 4, "bytes": 4_000_000, "modality": "CT"}
        log.commit(a_record(kind="warmed", study=study, series=f"{study}.1", detail=detail))
    log.commit(a_record(study="1.1", series="1.1.1", frames="1-2", size_bytes=2_000_000))
    log.close()
    return tmp_path / "audit"


def run(*arguments: object) -> Any:
    return RUNNER.invoke(app, ["worth", *map(str, arguments)], env={"COLUMNS": "120"})


def test_the_table_tells_waste_and_hits(folder: Path) -> None:
    result = run(folder, "--as", "finance")

    assert result.exit_code == 0
    assert "75.0%" in result.output
    assert "100.0%" in result.output
    assert "8.0" in result.output


def test_json_csv_and_page_hold_the_same_figures(folder: Path) -> None:
    document = json.loads(run(folder, "--by", "rank", "--format", "json").output)
    rows = list(csv.DictReader(io.StringIO(run(folder, "--by", "rank", "--format", "csv").output)))
    page = run(folder, "--by", "rank", "--format", "html").output

    assert [row["group"] for row in document] == ["current", "prior 1"]
    assert [row["waste_bytes"] for row in document] == [2_000_000, 4_000_000]
    assert [int(row["waste_bytes"]) for row in rows] == [2_000_000, 4_000_000]
    assert page.startswith("<!doctype html>")
    assert "prior 1" in page
    assert "50.0%" in page
    assert "<script" not in page


def test_costs_are_in_every_form_by_a_table_of_ones_own(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(
        'source = "our contract"\nread_on = 2026-10-01\nper_1000_calls = 1000\nper_gb_moved = 0\n'
    )
    options = (folder, "--copy", "--by", "rank", "--prices", table)

    document = json.loads(run(*options, "--format", "json").output)
    rows = list(csv.DictReader(io.StringIO(run(*options, "--format", "csv").output)))
    page = run(*options, "--format", "html").output
    shown = run(*options).output

    # two calls for metadata and four for frames each; the prior comes out of the cheaper tier
    promotion = 5_000_000 / 2**30 * 0.099
    assert [row["requests"] for row in document] == [6, 6]
    assert [row["cost_requests_usd"] for row in document] == [6, 6]
    assert [row["cost_promotions_usd"] for row in document] == [0, round(promotion, 6)]
    assert [float(row["cost_usd"]) for row in rows] == [row["cost_usd"] for row in document]
    assert {row["prices_source"] for row in rows} == {"our contract"}
    assert "our contract, as of 2026-10-01" in page
    assert "<td>6.00</td>" in page
    assert "our contract, as of 2026-10-01" in shown
    assert "6.00" in shown


def test_the_page_says_from_when_to_when(folder: Path) -> None:
    page = run(folder, "--copy", "--since", START.isoformat(), "--format", "html").output

    assert f"From {START:%Y-%m-%d %H:%M:%SZ} to the end of the audit." in page


def test_prices_that_are_none_are_a_misuse(folder: Path, tmp_path: Path) -> None:
    for name, said in (("nowhere.toml", "--prices: not a readable"), ("empty", "--prices.source")):
        (tmp_path / "empty").write_text("")
        result = run(folder, "--copy", "--prices", tmp_path / name)
        assert result.exit_code == 2
        assert said in result.stderr


def test_times_choose_what_counts(folder: Path) -> None:
    until = (START + timedelta(hours=1)).isoformat()

    [line] = json.loads(run(folder, "--until", until, "--format", "json").output)

    assert line["warmed_studies"] == 1
    assert line["hit_frames"] == 0


def test_who_reads_is_recorded_and_a_copy_stays_as_it_is(folder: Path) -> None:
    run(folder, "--copy")
    assert "audit-read" not in {entry.event.kind for entry in entries(folder)}

    run(folder, "--as", "finance")

    [read] = [entry.event for entry in entries(folder) if entry.event.kind == "audit-read"]
    assert (read.subject, read.reason) == ("finance", "worth")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--since", "yesterday"], "--since"), (["--until", "?"], "--until")],
)
def test_a_wrong_option_is_named(folder: Path, arguments: list[str], named: str) -> None:
    result = run(folder, *arguments)

    assert result.exit_code == 2
    assert named in result.stderr


def test_a_folder_without_an_audit_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path / "nothing").exit_code == 2
