"""How fast the authorizer is, from a process that does not exist yet to a remembered verdict.

`uv run python -m tests.benchmarks.authorizer --json`. The cold process has what the package has,
and nothing else: the modules that `functions/Makefile` copies and the distributions of
`functions/authorize-requirements.txt`. Its time runs from starting Python to the answer, with the
first fetch of keys from an issuer on loopback, while every core is kept busy.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.faulty_server import Reply, http, run_faulty_server
from tests.token_making import AUDIENCE, key_set, make

ROOT = Path(__file__).resolve().parents[2]
DATASTORE_ID = "7" * 32
ROLE = "arn:aws:iam::123456789012:role/Reader"
KEYS = http("200 OK", key_set(), then="close")
FAULTS = {
    "slow": Reply(b"", "silence"),
    "lying": http("200 OK", b"<html>", then="close"),
    "huge": http("200 OK", b" " * 5_000_000, then="close"),
}
COLD = (
    "import json, sys, authorize; "
    "print(json.dumps(authorize.lambda_handler(json.load(sys.stdin), None)), flush=True)"
)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=100, help="cold processes (100)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.runs)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:24} {value}" for name, value in figures.items()))


def measure(folder: Path, runs: int) -> dict[str, float]:
    """Every figure by its name."""
    package_bytes = build_package(folder)
    with run_faulty_server(KEYS) as issuer:
        cold_s = measure_cold(folder, issuer.url, runs)
        warm_s, cached_s = measure_warm(issuer.url)
    figures = {
        "cold_p99_ms": _percentile(cold_s, 99) * 1e3,
        "cold_p50_ms": _percentile(cold_s, 50) * 1e3,
        "warm_p50_us": statistics.median(warm_s) * 1e6,
        "cached_p50_us": statistics.median(cached_s) * 1e6,
        "package_mb": package_bytes / 1e6,
        "down_p99_ms": measure_fault(None) * 1e3,
    }
    figures |= {f"{name}_p99_ms": measure_fault(reply) * 1e3 for name, reply in FAULTS.items()}
    return {name: round(value, 2) for name, value in figures.items()}


def build_package(folder: Path) -> int:
    """Put together what the Makefile packages, for this machine; its size in bytes."""
    makefile = (ROOT / "functions/Makefile").read_text()
    modules = re.search(r"^MODULES = ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert modules is not None
    shutil.copy(ROOT / "functions/authorize.py", folder)
    for name in modules[1].replace("\\\n", " ").split():
        source, target = ROOT / "shared" / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for line in (ROOT / "functions/authorize-requirements.txt").read_text().splitlines():
        _copy_distribution(line.split("==")[0], folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy_distribution(name: str, folder: Path) -> None:
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(distribution.locate_file(file))), target)


def measure_cold(folder: Path, issuer: str, runs: int) -> list[float]:
    """The seconds of each cold process, from start to answer, with all cores busy."""
    environment = _settings(issuer) | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(folder),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    }
    taken = []
    with _busy_cores():
        for _ in range(runs + 1):
            event = json.dumps(_event(_token(issuer)))
            began = time.perf_counter()
            # -S: nothing of this environment, as in Lambda
            run = subprocess.run(
                [sys.executable, "-S", "-c", COLD],
                input=event,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            taken.append(time.perf_counter() - began)
            assert json.loads(run.stdout) == {"isTokenValid": True, "roleArn": ROLE}, run.stderr
    return taken[1:]  # the first one compiles


@contextmanager
def _busy_cores() -> Iterator[None]:
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def measure_warm(issuer: str) -> tuple[list[float], list[float]]:
    """Seconds for tokens never seen before, and for one seen before, through the handler."""
    with _handler(issuer) as ask:
        tokens = [_token(issuer, n) for n in range(2000)]
        assert ask(_event(tokens[0]))["roleArn"] == ROLE
        warm = [_timed(ask, _event(token)) for token in tokens[1:]]
        cached = [_timed(ask, _event(tokens[5])) for _ in range(20_000)]
    return warm, cached


def measure_fault(reply: Reply | None) -> float:
    """The p99 of refusals, in seconds, by authorizers that never get keys; None: nobody listens.

    Each authorizer is a new one and is asked ten times, as one environment would be.
    """
    taken: list[float] = []
    with run_faulty_server(reply or KEYS) as server:
        issuer = server.url if reply else "http://127.0.0.1:9"
        for _ in range(20):
            with _handler(issuer) as ask:
                ask({})  # imports
                events = [_event(_token(issuer, n)) for n in range(10)]
                taken.extend(_timed(ask, event, valid=False) for event in events)
        server.stop()
    return _percentile(taken, 99)


@contextmanager
def _handler(issuer: str) -> Iterator[Callable[[dict[str, str]], Any]]:
    spec = importlib.util.spec_from_file_location("_authorize", ROOT / "functions/authorize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ, _settings(issuer)):
        spec.loader.exec_module(module)
        vars(module)["_log"] = lambda *_, **__: None
        yield lambda event: module.lambda_handler(event, None)


def _timed(ask: Callable[[Any], Any], event: dict[str, str], *, valid: bool = True) -> float:
    began = time.perf_counter()
    answer = ask(event)
    taken = time.perf_counter() - began
    assert answer == {"isTokenValid": valid, "roleArn": ROLE if valid else ""}
    return taken


def _token(issuer: str, number: int = 0) -> str:
    claims = {"iss": issuer, "jti": f"{time.time_ns()}-{number}"}
    return make({"claims": claims}, now_s=int(time.time()))


def _event(token: str) -> dict[str, str]:
    return {
        "datastoreId": DATASTORE_ID,
        "operation": "GetDICOMInstanceFrames",
        "bearerToken": token,
    }


def _settings(issuer: str) -> dict[str, str]:
    rules = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", "audiences": [AUDIENCE]}
    role = {"operations": ["frames"], "groups": ["readers"], "role_arn": ROLE}
    return {
        "TOKEN_ISSUERS": json.dumps([rules]),
        "READER_ROLES": json.dumps([role]),
        "AUTHORIZER_DATASTORE_ID": DATASTORE_ID,
    }


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    main()
