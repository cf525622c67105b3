"""Runs benchmarks one after the other, and says what ran on what, and what could not run."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.report_catalogue import Benchmark

ROOT: Final = Path(__file__).resolve().parents[2]
Said = Callable[[str], None]
_MAY_MISS_A_BAR: Final = 1  # `storm` exits so, with its figures
_VERSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "nginx": ("nginx", "-v"),
    "varnishd": ("varnishd", "-V"),
    "wrk": ("wrk", "-v"),
    "curl": ("curl", "--version"),
    "chromium": ("chromium", "--version"),
    "Orthanc": ("Orthanc", "--version"),
}
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+[\w.~+-]*")


def machine() -> dict[str, Any]:
    """What this machine is, without its name."""
    told = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", told, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+([0-9]+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "congestion_control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(names: Sequence[str]) -> dict[str, str]:
    """The version of each program, or that it is not installed."""
    return {name: _version(name) for name in names if name in _VERSIONS}


def hindrance(benchmark: Benchmark, *, viewer: str | None) -> str:
    """Why a benchmark cannot run here at all; empty if it can."""
    if benchmark.name == "reader":
        if os.geteuid() != 0:
            return "not root: a link between two networks cannot be made"
        if not viewer:
            return "no viewer: `uv run teleprefetch viewer DIR`, then --viewer DIR or OHIF_VIEWER"
        missing = [name for name in benchmark.needs if shutil.which(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""
    must_have = {"serving": ("wrk",), "warming": ("nginx", "curl")}.get(benchmark.name, ())
    missing = [name for name in must_have if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def lacking(benchmark: Benchmark) -> list[str]:
    """What a benchmark that runs here has to do without."""
    found = [f"not installed: {name}" for name in benchmark.needs if shutil.which(name) is None]
    if benchmark.root and os.geteuid() != 0:
        found.append(f"not root: without {benchmark.root}")
    return found


def run(
    benchmark: Benchmark, *, quick: bool, viewer: str | None, tell: Said, place: str
) -> dict[str, Any]:
    """Run one; its figures, or why there are none.

    Args:
        benchmark: which.
        quick: with the smallest settings.
        viewer: the folder of a built OHIF, for `reader`.
        tell: hears how far it is, about once a second.
        place: where it stands among all, for `tell`.
    """
    began = datetime.now(UTC)
    about: dict[str, Any] = {
        "at": began.isoformat(timespec="seconds"),
        "quick": quick,
        "versions": versions(benchmark.needs),
        "lacking": lacking(benchmark),
        "machine": machine(),
    }
    problem = hindrance(benchmark, viewer=viewer)
    if problem:
        return about | {"skipped": problem}
    settings = benchmark.quick if quick and benchmark.quick else benchmark.arguments
    command = [sys.executable, "-m", benchmark.module, "--json", *settings]
    command += ["--viewer", str(viewer)] if benchmark.name == "reader" else []
    code, out, err, seconds = _watched(command, benchmark, tell=tell, place=place)
    about["seconds"] = round(seconds, 1)
    try:
        figures = json.loads(out)
    except ValueError:
        last = err.strip().splitlines()[-1:] or [f"exit code {code}, and no figures"]
        return about | {"failed": placeless(last[0])[:300]}
    if code not in {0, _MAY_MISS_A_BAR}:
        about["failed"] = f"exit code {code}"
    return about | {"figures": figures}


def placeless(text: str) -> str:
    """What a program said, without the places of this machine."""
    told = text.replace(sys.executable, "python").replace(f"{ROOT}/", "")
    return re.sub(r"/(?:tmp|var)/[^\s'\"]+", "(a temporary place)", told)


def _watched(
    command: list[str], benchmark: Benchmark, *, tell: Said, place: str
) -> tuple[int, str, str, float]:
    """Run a command to its end, and tell each second for how long; ended if we are."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            took_s = time.monotonic() - began_s
            tell(f"{place} {benchmark.name}: {took_s:.0f} s, usually {benchmark.minutes:g} minutes")
            try:
                out, err = process.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                continue
            return process.returncode, out, err, time.monotonic() - began_s
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _version(name: str) -> str:
    if shutil.which(name) is None:
        return "not installed"
    ran = subprocess.run(
        _VERSIONS[name], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    found = _VERSION.search(ran.stdout + ran.stderr)
    return found[0] if found else "unknown"


def _first_line(path: str) -> str:
    return Path(path).read_text().partition("\n")[0].strip()
