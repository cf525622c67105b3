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
