"""All benchmarks, one after the other: `uv run python -m tests.benchmarks --report`.

Writes shared/docs/benchmarks.md, its plots and `results.json`, after each benchmark anew, so that
what was measured is kept if the rest is broken off. Without --report it prints the same page.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.report_catalogue import BY_NAME, CATALOGUE, Benchmark
from tests.benchmarks.report_page import page, plots
from tests.benchmarks.report_running import ROOT, run

DOCS: Final = ROOT / "shared/docs"
RESULTS: Final = "benchmarks/results.json"
_MISUSE: Final = 2


def main() -> None:
    """Run, save, write."""
    given = _parser().parse_args()
    results = _saved(given)
    chosen = [] if given.from_ else _chosen(given.only)
    try:
        _run_all(chosen, results, given)
    except KeyboardInterrupt:
        _say("\nbroken off; what was measured is kept\n" if given.report else "\nbroken off\n")
    if given.report:
        write(results, given.out)
        _say(f"{given.out / 'benchmarks.md'}\n")
    else:
        print(page(results))


def write(results: dict[str, Any], out: Path) -> None:
    """Write the page, its plots, and the results that they are made of."""
    folder = out / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, sort_keys=True) + "\n"
    (out / RESULTS).write_text(text)
    saved = json.loads(text)  # in the order that it is read in again
    (out / "benchmarks.md").write_text(page(saved))
    made = plots(saved)
    for path in folder.glob("*.svg"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (folder / name).write_text(content)


def _run_all(chosen: list[Benchmark], results: dict[str, Any], given: argparse.Namespace) -> None:
    for number, benchmark in enumerate(chosen, start=1):
        place = f"[{number} of {len(chosen)}]"
        ran = run(benchmark, quick=given.quick, viewer=given.viewer, tell=_progress(), place=place)
        results["benchmarks"][benchmark.name] = ran
        ended = ran.get("skipped") or ran.get("failed") or f"{ran['seconds']:.0f} s"
        _say(f"\r\x1b[K{place} {benchmark.name}: {ended}\n" if _at_terminal()
             else f"{place} {benchmark.name}: {ended}\n")  # fmt: skip
        if given.report:
            write(results, given.out)


def _saved(given: argparse.Namespace) -> dict[str, Any]:
    """What was measured before: of the files that are named, or of the page that is there."""
    results: dict[str, Any] = {"benchmarks": {}}
    standing = given.out / RESULTS
    files = given.from_ or ([standing] if given.report and standing.exists() else [])
    for path in files:
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            _refuse(f"--from: {path} cannot be read as JSON ({type(error).__name__})")
        if not isinstance(found, dict) or not isinstance(found.get("benchmarks"), dict):
            _refuse(f"--from: {path} holds no results of this report")
        results["benchmarks"] |= found["benchmarks"]
    return results


def _chosen(only: str | None) -> list[Benchmark]:
    if only is None:
        return list(CATALOGUE)
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not names:
        _refuse(f"--only: one or more of {', '.join(BY_NAME)}")
    return [one for one in CATALOGUE if one.name in names]


def _progress() -> Any:
    """Rewrites one line at a terminal; elsewhere says nothing until the end."""
    return (lambda line: _say(f"\r\x1b[K{line}")) if _at_terminal() else (lambda _: None)


def _at_terminal() -> bool:
    return sys.stderr.isatty()


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _refuse(message: str) -> None:
    _say(f"benchmarks: {message}\n")
    raise SystemExit(_MISUSE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--report", action="store_true", help="write the page and its plots")
    parser.add_argument("--only", metavar="NAMES", help=f"of {','.join(BY_NAME)}")
    parser.add_argument(
        "--from", dest="from_", action="append", type=Path, metavar="FILE", default=[],
        help="saved results instead of running; repeatable, later ones win",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="smallest settings: does it run?")
    parser.add_argument(
        "--viewer", default=os.environ.get("OHIF_VIEWER"), help="a built OHIF, for `reader`"
    )
    parser.add_argument("--out", type=Path, default=DOCS, help="where the page goes")
    return parser


if __name__ == "__main__":
    main()
