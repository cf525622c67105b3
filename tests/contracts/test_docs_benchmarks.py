"""The page of benchmarks is made of saved results, and hides nothing that could not be measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.report_catalogue import BY_NAME, CATALOGUE, Figure
from tests.benchmarks.report_page import page, plots, verdict
from tests.benchmarks.report_plots import Row, plot
from tests.benchmarks.report_running import hindrance, machine, placeless, versions
from tests.pages.blocks import DOCS, ROOT

RESULTS = DOCS / "benchmarks/results.json"
MACHINE = {
    "cpu": "a processor", "cores": 2, "memory_gib": 8.0, "system": "Linux 6", "python": "3.11.7",
    "congestion_control": "cubic", "load_before": 0.1,
}  # fmt: skip


def ran(**given: Any) -> dict[str, Any]:
    return {
        "at": "2026-11-25T12:00:00+00:00", "quick": False, "versions": {"nginx": "1.22.1"},
        "lacking": [], "machine": MACHINE, "seconds": 60.0, **given,
    }  # fmt: skip


def results(**runs: dict[str, Any]) -> dict[str, Any]:
    return {"benchmarks": runs}


def test_the_page_and_its_plots_are_made_of_the_saved_results() -> None:
    saved = json.loads(RESULTS.read_text())

    assert (DOCS / "benchmarks.md").read_text() == page(saved)
    drawn = {path.name: path.read_text() for path in RESULTS.parent.glob("*.svg")}
    assert drawn == plots(saved)


def test_what_is_held_what_is_not_and_what_is_missing_are_told_apart() -> None:
    figures = {"vs_curl": 0.9, "vs_curl_verified": 0.4, "spread": {"vs_curl": [0.85, 0.95]}}
    written = page(results(warming=ran(figures=figures)))

    assert "| 200 KB frames, loopback | 0.9 x | 0.85 - 0.95 | at least 0.8 | held |" in written
    assert "| 0.4 x |  | at least 0.5 | **not held** |" in written
    assert "| 200 KB frames, 100 ms | - |  | at least 0.8 | not measured |" in written
    assert "| [Warming](#warming) | 1 of 12 | 1 | 10 |" in written
    assert "a processor, 2 cores" in written
    assert "nginx 1.22.1" in written


@pytest.mark.parametrize("word", ["skipped", "failed"])
def test_why_a_benchmark_has_no_figures_stands_on_the_page(word: str) -> None:
    written = page(results(reader=ran(**{word: "not root: a link cannot be made"})))

    assert f"**{word.capitalize()}**: not root: a link cannot be made." in written


def test_why_a_benchmark_failed_names_no_place_of_this_machine() -> None:
    said = f"Command '['{sys.executable}', '-m', '{ROOT}/tests', '/tmp/x-1/store']' died"

    assert placeless(said) == "Command '['python', '-m', 'tests', '(a temporary place)']' died"


def test_what_a_benchmark_had_to_do_without_stands_on_the_page() -> None:
    lacking = ["not installed: varnishd"]
    written = page(results(serving=ran(figures={}, lacking=lacking)))

    assert "**Without**: not installed: varnishd." in written


def test_a_quick_run_holds_nothing_and_says_so() -> None:
    quick = ran(figures={"ratio": 1.0}, quick=True)

    assert verdict(BY_NAME["cold_miss"].figures[0], quick) == "quick run"
    assert "measure nothing" in page(results(cold_miss=quick))
    assert "measure nothing" not in page(results(cold_miss=ran(figures={"ratio": 1.0})))


@pytest.mark.parametrize(
    ("sense", "value", "is_held"),
    [("at least", 0.8, True), ("at least", 0.79, False), ("at most", 0.8, True),
     ("at most", 0.81, False)],
)  # fmt: skip
def test_a_bar_is_held_at_its_very_value(sense: Any, value: float, is_held: bool) -> None:
    assert Figure("a", "a", 0.8, sense).is_held(value) is is_held


def test_a_plot_is_svg_that_anybody_can_read() -> None:
    drawn = ET.fromstring(  # noqa: S314 - our own
        plot("A & B", [Row("a < b", 1.2, (1.0, 1.4), 0.8, True), Row("none", 0.0)])
    )

    assert drawn.find("{*}title").text == "A & B"  # type: ignore[union-attr]
    assert "a < b: 1.2" in str(drawn.find("{*}desc").text)  # type: ignore[union-attr]
    assert len(drawn.findall("{*}rect")) == 2


def test_each_benchmark_of_the_report_is_one_and_each_one_is_in_the_report() -> None:
    folder = ROOT / "tests/benchmarks"
    with_json = {
        path.stem
        for path in folder.glob("*.py")
        if '"--json"' in path.read_text() and not path.stem.startswith(("report_", "__"))
    }

    assert {one.name for one in CATALOGUE} == with_json


def test_this_machine_and_its_programs_are_told_without_a_name() -> None:
    told = machine()

    assert set(told) == set(MACHINE)
    assert versions(["curl", "wrk"]).keys() == {"curl", "wrk"}


def test_a_reader_without_a_viewer_cannot_be_measured_and_why_is_said() -> None:
    assert hindrance(BY_NAME["reader"], viewer=None)


def test_the_command_runs_one_benchmark_and_renders_what_it_saved(tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", *words],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = command("--report", "--only", "relevance", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    saved = tmp_path / "benchmarks/results.json"
    assert "relevance: " in done.stderr
    assert "| nDCG@10 |" in (tmp_path / "benchmarks.md").read_text()

    again = command("--from", str(saved))
    assert again.stdout.strip() == (tmp_path / "benchmarks.md").read_text().strip()
    assert command("--only", "nothing").returncode == 2
    assert command("--from", str(tmp_path / "none.json")).returncode == 2
