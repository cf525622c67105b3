"""How much memory a node takes with much cached.

`uv run python -m tests.benchmarks.memory --json`. A store is filled with frames of 200 KB, as many
as `--cached-gb` says, in series of 1,000; two processes serve it, with the whole doorway. The frame
of each hundredth instance is then asked for, so that every series has been looked at.
`resident_anonymous_mb` is both processes' own memory after that (RssAnon of proc(5): the page
cache, which the system takes back at will, is not theirs), `at_rest_mb` after the first frame.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from teleprefetch.edge.store.store import Store
from teleprefetch.local.node_process import free_port
from tests.benchmarks.serving import ACCEPT, resident_anonymous_mb
from tests.benchmarks.serving_store import (
    STUDY,
    assign,
    codestream,
    node_settings,
    pointer_of,
    put,
    token_of,
)
from tests.loopback_issuer import Issuer

_FRAME_BYTES = 200_000
_FRAMES_OF_A_SERIES = 1000
_EVERY = 100
_PROCESSES = 2


def fill_up(path: Path, series: int) -> None:
    """Hold so many series."""
    content = codestream(random.Random(1), _FRAME_BYTES)  # noqa: S311 - the same bytes each time
    store = Store(path, 1 << 40)
    try:
        for number in track(
            range(1, series + 1), description="filling the store", console=Console(stderr=True)
        ):
            put(store, pointer_of(number), _FRAMES_OF_A_SERIES, lambda: content, _FRAME_BYTES)
    finally:
        store.close()


@contextlib.contextmanager
def serving(folder: Path, port: int, issuer: Issuer) -> Iterator[tuple[int, ...]]:
    """The processes, by their numbers."""
    start = partial(
        subprocess.Popen,
        env=os.environ | issuer.settings | node_settings(folder),
        stdout=subprocess.DEVNULL,
    )
    command = [sys.executable, "-m", "tests.benchmarks.serving_node", str(port), str(folder)]
    processes = [start([*command, str(number)]) for number in range(_PROCESSES)]
    try:
        yield tuple(process.pid for process in processes)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def measure(cached_gb: float) -> dict[str, Any]:
    """The figures."""
    series = max(1, round(cached_gb * 1e9 / _FRAME_BYTES / _FRAMES_OF_A_SERIES))
    with (
        tempfile.TemporaryDirectory(prefix="memory-") as name,
        contextlib.closing(Issuer()) as issuer,
    ):
        folder, port = Path(name), free_port()
        fill_up(folder / "store", series)
        assign(folder, issuer)
        with serving(folder, port, issuer) as pids:
            headers = {"Accept": ACCEPT, "Authorization": f"Bearer {token_of(issuer)}"}
            _ask(port, _path(1, 1), headers, within_s=120)
            at_rest = resident_anonymous_mb(pids)
            for number in range(1, series + 1):
                for instance in range(1, _FRAMES_OF_A_SERIES + 1, _EVERY):
                    _ask(port, _path(number, instance), headers)
            asked = resident_anonymous_mb(pids)
    return {
        "cached_gb": series * _FRAMES_OF_A_SERIES * _FRAME_BYTES / 1e9,
        "frames": series * _FRAMES_OF_A_SERIES,
        "processes": _PROCESSES,
        "at_rest_mb": at_rest,
        "resident_anonymous_mb": asked,
        "python": platform.python_version(),
    }


def _path(series: int, instance: int) -> str:
    uid = f"{STUDY}.{series}"
    return f"/dicom-web/studies/{STUDY}/series/{uid}/instances/{uid}.{instance}/frames/1"


def _ask(port: int, path: str, headers: dict[str, str], *, within_s: float = 0) -> None:
    """Ask on a connection of its own, so that either process answers; at first until one does."""
    ends_s = time.monotonic() + within_s
    while True:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asked:
            try:
                asked.request("GET", path, headers=headers)
                answer = asked.getresponse()
            except ConnectionRefusedError:
                if time.monotonic() > ends_s:
                    raise
                time.sleep(0.1)
                continue
            if answer.status != 200 or len(answer.read()) < _FRAME_BYTES:
                raise RuntimeError(f"the node answers {answer.status}")
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cached-gb", type=float, default=20)
    options = parser.parse_args()
    print(json.dumps(measure(options.cached_gb), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
