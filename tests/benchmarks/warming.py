"""How fast a node warms beside `curl --parallel`, which checks nothing and keeps nothing.

`uv run python -m tests.benchmarks.warming --json`. Both fetch the same files from nginx: the node
as a HealthImaging data store's frames, signed, by its shipped order run into its shipped store -
SHA-256, synced, read back - and curl into files. A figure is curl's time over the node's, medians
of interleaved rounds; curl has the parallelism that was best for it. `*_durable` lets curl sync
its files as well. Loopback: `vs_curl` (200 KB), `vs_curl_verified` (every frame decoded, its pixels
compared), `big_frames` (27 MB). `vs_curl_at_100_ms`: through a link of 1 Gbit/s and 100 ms between
network namespaces (root). `cpu_s_per_gb` and `peak_rss_mb` are the node's on loopback.
`--links` adds the time of a whole order over bytes / bandwidth for nine links; the headers of TCP
and IP alone make that 1.036 (52 of 1,500 bytes).
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.spread import spread
from tests.benchmarks.wan_link import ADDRESSES
from tests.benchmarks.warming_archive import Archive, serving

FRAME_BYTES, BIG_BYTES = 200_000, 27_000_000
HUB, SPOKE = "warming-hub", "warming-spoke"
NEAR, FAR = (4, 8, 16, 32), (32, 64, 128)
LINK_ROUND_TRIPS_MS = (10, 50, 150)
LINKS = ((20, 100, ""), (100, 500, ""), (1000, 5000, ""), (1000, 2000, ", 400 MB"))
LINK_IMAGE_SETS = 4


def curl(archive: Archive, folder: Path, parallel: int, within: str | None) -> tuple[float, float]:
    """Seconds until curl ends, and until its files are on the disk."""
    target = folder / "curl"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    config = folder / "curl.conf"
    config.write_text(archive.curl_config(target))
    command = ["curl", "-sS", "--fail", "--parallel", "--parallel-immediate"]
    command += ["--parallel-max", str(parallel), "--config", str(config)]
    began = time.monotonic()
    subprocess.run(_inside(within, command), check=True, stderr=subprocess.DEVNULL)
    took_s = time.monotonic() - began
    subprocess.run(["sync", "-f", str(target)], check=True)
    durable_s = time.monotonic() - began
    if sum(1 for _ in target.iterdir()) != archive.frames:
        raise RuntimeError("curl did not fetch every file")
    shutil.rmtree(target)
    return took_s, durable_s


def node(
    archive: Archive,
    folder: Path,
    *,
    at_once: int,
    verify: bool = False,
    after: bool = False,
    within: str | None = None,
) -> dict[str, Any]:
    """What one order took, as `warming_node` tells it."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    subprocess.run(["sync", "-f", str(folder)], check=True)
    words = [archive.kind, archive.url, str(store), str(at_once)]
    words += ["--image-sets", str(archive.image_sets)]
    words += ["--verify"] * verify + ["--after"] * after
    command = [sys.executable, "-m", "tests.benchmarks.warming_node", *words]
    ran = subprocess.run(_inside(within, command), check=True, stdout=subprocess.PIPE, timeout=600)
    told: dict[str, Any] = json.loads(ran.stdout)
    if told["frames"] != archive.frames:
        raise RuntimeError("the node did not warm every frame")
    shutil.rmtree(store)
    return told


def compared(
    archive: Archive,
    folder: Path,
    given: argparse.Namespace,
    *,
    settings: tuple[int, ...],
    verify: bool = False,
    within: str | None = None,
) -> dict[str, Any]:
    """Rounds of curl at each setting and the node, in turn; the setting with the best median."""
    trials: dict[int, list[tuple[float, float]]] = {parallel: [] for parallel in settings}
    nodes = []
    for _ in range(given.rounds):
        for parallel, took in trials.items():
            took.append(curl(archive, folder, parallel, within))
        nodes.append(node(archive, folder, at_once=given.at_once, verify=verify, within=within))
    middle = statistics.median
    best = min(trials, key=lambda parallel: middle(one[0] for one in trials[parallel]))
    curls = trials[best]
    gigabytes = archive.total_bytes / 1e9
    pairs = list(zip(curls, nodes, strict=True))
    return {
        "ratio": round(middle(one[0] / told["seconds"] for one, told in pairs), 3),
        "ratio_durable": round(middle(one[1] / told["seconds"] for one, told in pairs), 3),
        "spread": spread(one[0] / told["seconds"] for one, told in pairs),
        "spread_durable": spread(one[1] / told["seconds"] for one, told in pairs),
        "curl_parallel": best,
        "curl_s": round(middle(one[0] for one in curls), 3),
        "node_s": round(middle(told["seconds"] for told in nodes), 3),
        "node_at_once": nodes[-1]["at_once"],
        "cpu_s_per_gb": round(middle(told["cpu_s"] for told in nodes) / gigabytes, 2),
        "peak_rss_mb": round(max(told["peak_rss_mb"] for told in nodes), 1),
    }


def near(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    with serving(
        folder / "archive", kind=given.kind, frames=given.frames, size_bytes=FRAME_BYTES
    ) as archive:
        plain = compared(archive, folder, given, settings=NEAR)
        verified = compared(archive, folder, given, settings=NEAR, verify=True)
    with serving(
        folder / "archive", kind=given.kind, frames=given.big_frames, size_bytes=BIG_BYTES
    ) as archive:
        big = compared(archive, folder, given, settings=NEAR)
    return {
        "vs_curl": plain["ratio"],
        "vs_curl_durable": plain["ratio_durable"],
        "vs_curl_verified": verified["ratio"],
        "big_frames": big["ratio"],
        "big_frames_durable": big["ratio_durable"],
        "cpu_s_per_gb": plain["cpu_s_per_gb"],
        "peak_rss_mb": max(one["peak_rss_mb"] for one in (plain, verified, big)),
        "spread": {
            "vs_curl": plain["spread"],
            "vs_curl_durable": plain["spread_durable"],
            "vs_curl_verified": verified["spread"],
            "big_frames": big["spread"],
            "big_frames_durable": big["spread_durable"],
        },
        "details": {"plain": plain, "verified": verified, "big": big},
    }


def far(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    with (
        link(rate_mbit=1000, round_trip_ms=100),
        serving(
            folder / "archive",
            kind=given.kind,
            frames=given.far_frames,
            size_bytes=FRAME_BYTES,
            address=ADDRESSES[0],
            within=HUB,
        ) as archive,
    ):
        told = compared(archive, folder, given, settings=FAR, within=SPOKE)
    return {
        "vs_curl_at_100_ms": told["ratio"],
        "spread": {"vs_curl_at_100_ms": told["spread"]},
        "details": {"at_100_ms": told},
    }


def over_links(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an order over those that its bytes alone take, by rate and round trip.

    A CT with its priors in four image sets: as many bytes as the link carries in eight seconds, and
    400 MB beside them on the fastest, where round trips weigh most. The order comes after another
    one and a pause; `first_order` is a node's first ever, over which it finds out what its link
    gives. `beyond_bytes` is what the order took beyond its bytes, in round trips.
    """
    told: dict[str, dict[str, float]] = {
        "order_over_bytes_per_bandwidth": {},
        "first_order_over_bytes_per_bandwidth": {},
        "beyond_bytes_in_round_trips": {},
    }
    for rate_mbit, frames, size in LINKS:
        for round_trip_ms in LINK_ROUND_TRIPS_MS:
            name = f"{rate_mbit} Mbit/s, {round_trip_ms} ms{size}"
            found = _over_link(folder, given, rate_mbit, round_trip_ms, frames)
            for where, figure in zip(told.values(), found, strict=True):
                where[name] = figure
            print(name, found, file=sys.stderr, flush=True)
    return told


def _over_link(
    folder: Path, given: argparse.Namespace, rate_mbit: int, round_trip_ms: int, frames: int
) -> tuple[float, float, float]:
    """After another order; the first one; and round trips of the former beyond its bytes."""
    with (
        link(rate_mbit=rate_mbit, round_trip_ms=round_trip_ms),
        serving(
            folder / "archive",
            kind=given.kind,
            frames=frames,
            size_bytes=FRAME_BYTES,
            address=ADDRESSES[0],
            within=HUB,
            image_sets=LINK_IMAGE_SETS if given.kind == "healthimaging" else 1,
            files=256,
        ) as archive,
    ):
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(given.link_rounds):
            for after, seconds in took.items():
                told = node(archive, folder, at_once=given.at_once, after=after, within=SPOKE)
                seconds.append(told["seconds"])
    least_s = archive.total_bytes / (rate_mbit * 1e6 / 8)
    first_s, later_s = (statistics.median(seconds) for seconds in took.values())
    beyond = (later_s - least_s) / round_trip_ms * 1e3
    return round(later_s / least_s, 3), round(first_s / least_s, 3), round(beyond, 1)


@contextlib.contextmanager
def link(*, rate_mbit: int, round_trip_ms: int) -> Iterator[None]:
    """Two namespaces, and a line between them with room for what is on its way."""
    queue_kb = max(256, int(rate_mbit * 125 * round_trip_ms / 1000))
    with contextlib.ExitStack() as made:
        for name in (HUB, SPOKE):
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            _without_pacing(name)
        words = ["--delay-ms", str(round_trip_ms / 2), "--rate-mbit", str(rate_mbit)]
        words += ["--queue-kb", str(queue_kb), "--offload"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.wan_link", HUB, SPOKE, *words],
            stdout=subprocess.PIPE,
        )
        made.callback(process.wait)
        made.callback(process.terminate)
        assert process.stdout is not None
        made.callback(process.stdout.close)
        assert process.stdout.readline() == b"up\n", "the link did not come up"
        yield


def _without_pacing(namespace: str) -> None:
    """CUBIC or RENO: BBR, the system's default on some machines, takes seconds to find a rate."""
    setting = "/proc/sys/net/ipv4/tcp_congestion_control"
    shell = f"echo cubic > {setting} 2>/dev/null || echo reno > {setting}"
    subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", shell], check=True)


def _inside(namespace: str | None, command: list[str]) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command] if namespace else command


def run(given: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="warming-", dir=given.place) as place:
        folder = Path(place)
        folder.chmod(0o755)
        told = {} if given.only_links else near(folder, given)
        if os.geteuid() == 0 and shutil.which("ip"):
            if not given.only_links:
                distant = far(folder, given)
                told["details"] |= distant.pop("details")
                told["spread"] |= distant.pop("spread")
                told |= distant
            if given.links or given.only_links:
                told |= over_links(folder, given)
        else:
            told["not_measured"] = "links: not root"
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kind", choices=("healthimaging", "dicomweb"), default="healthimaging")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--far-frames", type=int, default=1000)
    parser.add_argument("--big-frames", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=128)
    parser.add_argument("--link-rounds", type=int, default=1)
    parser.add_argument("--links", action="store_true")
    parser.add_argument("--only-links", action="store_true")
    parser.add_argument("--place", help="a folder on the disk to measure on")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind
    told = run(given)
    if given.json:
        print(json.dumps(told, indent=2))
    else:
        for name, value in told.items():
            if name != "details":
                print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
