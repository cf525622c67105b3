"""How much sooner a reader sees a study from a warm node than from the archive itself.

    uv run python -m tests.benchmarks.reader --viewer DIR --json

Needs root, /dev/net/tun, Chromium, and Orthanc. Two network namespaces, a link of 150 ms round
trip and 100 Mbit/s between them: the archive with the viewer in front of it on one side; node,
stack and browser on the other. A study is opened in OHIF in turn from the archive and from the warm
node, each time by a fresh browser that has opened another study before, so that the viewer itself
is in its cache. All times are from the browser's own log of its requests, from the first search.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teleprefetch.local.login.people import READER
from teleprefetch.local.reading import assign, notice_of
from teleprefetch.local.stack import LocalStack, StackOptions
from tests.benchmarks.spread import spread
from tests.benchmarks.wan_link import ADDRESSES
from tests.browser import Page, open_browser
from tests.login import log_in
from tests.reading_room import Kind, large_mammogram, long_ct, small_ct, tomosynthesis

HUB, SPOKE = "teleprefetch-hub", "teleprefetch-spoke"
PORT = 8080
FRONT = f"http://{ADDRESSES[0]}:{PORT}"
_WITHIN_S = 300


@dataclass(frozen=True)
class Opening:
    """One opening of a study; seconds from the first search, as the browser's log has them.

    `waited_s` is how long of `whole_study_s` at least one DICOMweb request was under way.
    """

    metadata_s: float
    first_frame_s: float
    first_image_s: float
    whole_study_s: float
    waited_for_first_s: float
    waited_s: float
    requests: int
    megabytes: float


@dataclass(frozen=True)
class Side:
    """Where the viewer is opened; `issuer` is who logs its reader in, if anybody does."""

    name: str
    url: str
    issuer: str | None


def opened(page: Page, side: Side, kind: Kind) -> Opening:
    """Open a study and wait until all its frames have come and a picture is shown."""
    page.open(f"{side.url}/viewer?StudyInstanceUIDs={kind.study_instance_uid}")
    if side.issuer is not None:
        log_in(page, READER, issuer=side.issuer)
    complete = f"({_COUNT_FRAMES}) >= {kind.frames} && window.firstImageAt"
    shown_at = page.until(lambda: page.evaluate(complete), "all frames", within_s=_WITHIN_S)
    asked = [Asked(**one) for one in json.loads(page.evaluate(_LOG))]
    assert all(one.status == 200 for one in asked), [one for one in asked if one.status != 200]
    began = min(one.asked_at for one in asked)
    came = sorted(one.came_at for one in asked if one.is_frame)
    return Opening(
        metadata_s=max(one.came_at for one in asked if not one.is_frame) - began,
        first_frame_s=came[0] - began,
        first_image_s=shown_at - began,
        whole_study_s=came[-1] - began,
        waited_for_first_s=_under_way(asked, until=came[0]),
        waited_s=_under_way(asked, until=came[-1]),
        requests=len(asked),
        megabytes=sum(one.size_bytes for one in asked) / 1e6,
    )


@dataclass(frozen=True)
class Asked:
    """One DICOMweb request of the page (W3C Resource Timing); seconds of the page's clock."""

    is_frame: bool
    asked_at: float
    came_at: float
    status: int
    size_bytes: int


_COUNT_FRAMES = (
    "performance.getEntriesByType('resource').filter((o) => o.name.includes('/frames/')).length"
)
_LOG = """
JSON.stringify(performance.getEntriesByType('resource')
  .filter((one) => one.name.includes('/dicom-web/'))
  .map((one) => ({
    is_frame: one.name.includes('/frames/'), asked_at: one.startTime / 1000,
    came_at: one.responseEnd / 1000, status: one.responseStatus, size_bytes: one.encodedBodySize,
  })))
"""
_WATCH = """
performance.setResourceTimingBufferSize(20000);
document.addEventListener('CORNERSTONE_STACK_NEW_IMAGE', () => {
  window.firstImageAt ||= performance.now() / 1000;
}, true);
try { localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour'])); } catch (e) {}
"""


def _under_way(asked: Sequence[Asked], *, until: float) -> float:
    """Seconds during which at least one of the requests was under way."""
    total, covered = 0.0, 0.0
    for begin, end in sorted((one.asked_at, min(one.came_at, until)) for one in asked):
        if end > max(begin, covered):
            total += end - max(begin, covered)
            covered = end
    return total


def measure(viewer: Path, kinds: Sequence[Kind], *, repeats: int) -> dict[str, Any]:
    """Warm the node over the link, then open each study but the last from both sides in turn."""
    *studies, other = kinds
    variables = {"VIEWER_PATH": str(viewer)}
    options = StackOptions(dicomweb_url=f"{FRONT}/dicom-web", node_variables=variables)
    results: dict[str, dict[str, list[Opening]]] = {
        kind.name: {"direct": [], "warm": []} for kind in studies
    }
    with LocalStack(options) as stack:
        for number, kind in enumerate(kinds):
            assign(
                kind.study_instance_uid,
                assignment_id=f"b-{number}",
                origin_id="archive",
                assigned_to=stack.provider.reads,
            )
            notice = notice_of(f"b-{number}")
            assert notice.reason == "warm", notice
        sides = (
            Side("direct", FRONT, None),
            Side("warm", stack.node.url, stack.provider.issuer),
        )
        for _ in range(repeats):
            for study in studies:
                for side in sides:
                    results[study.name][side.name].append(_one(side, study, other))
    return {name: summary(openings) for name, openings in results.items()}


def _one(side: Side, study: Kind, other: Kind) -> Opening:
    secure = f"--unsafely-treat-insecure-origin-as-secure={FRONT}"
    with open_browser(arguments=[secure], watches=False) as page:
        page.size(1400, 900)
        page.at_start(_WATCH)
        opened(page, side, other)
        return opened(page, side, study)


def summary(results: dict[str, list[Opening]]) -> dict[str, Any]:
    """Medians of both, and their ratios."""
    medians = {
        name: {
            figure: round(statistics.median(getattr(one, figure) for one in openings), 3)
            for figure in Opening.__dataclass_fields__
        }
        for name, openings in results.items()
    }
    direct, warm = medians["direct"], medians["warm"]

    def ratio(figure: str) -> float:
        return float(round(direct[figure] / warm[figure], 2))

    return {
        "first_frame_speedup": ratio("first_frame_s"),
        "whole_study_speedup": ratio("whole_study_s"),
        "first_frame_wait_speedup": ratio("waited_for_first_s"),
        "whole_study_wait_speedup": ratio("waited_s"),
        "metadata_speedup": ratio("metadata_s"),
        "first_frame_speedup_if_the_node_took_no_time": round(
            direct["first_frame_s"] / (warm["first_frame_s"] - warm["waited_for_first_s"]), 2
        ),
        **medians,
        "spread": {
            "first_frame_speedup": _spread(results, "first_frame_s"),
            "whole_study_speedup": _spread(results, "whole_study_s"),
        },
        "runs": {
            name: [[round(one.first_frame_s, 2), round(one.whole_study_s, 2)] for one in openings]
            for name, openings in results.items()
        },
    }


def _spread(results: dict[str, list[Opening]], figure: str) -> list[float]:
    """The least and the most that one opening from the archive took over one from the node."""
    pairs = zip(results["direct"], results["warm"], strict=True)
    return spread((getattr(a, figure) / getattr(b, figure) for a, b in pairs), 2)


@contextlib.contextmanager
def _running(*command: str, within: str | None = None) -> Iterator[None]:
    """A process of the benchmark, up once it says so."""
    prefix = ["ip", "netns", "exec", within] if within else []
    process = subprocess.Popen([*prefix, sys.executable, "-m", *command], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n", f"{command[0]} did not start"
        yield
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def _namespaces() -> Iterator[None]:
    made = []
    try:
        for name in (HUB, SPOKE):
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Lay the link, start the archive on its far side, and measure on this side of it."""
    with tempfile.TemporaryDirectory(prefix="reader-") as place:
        folder = Path(place)
        kinds = (
            long_ct(folder, slices=given.slices),
            large_mammogram(folder),
            tomosynthesis(folder, slices=given.tomosynthesis_slices),
            small_ct(folder),
        )
        for sample in ("long-samples", "small-samples"):
            shutil.rmtree(folder / sample)
        described = [
            json.dumps([kind.name, kind.study_instance_uid, [*map(str, kind.files)], kind.frames])
            for kind in kinds
        ]
        line = ("--delay-ms", str(given.rtt_ms / 2), "--rate-mbit", str(given.rate_mbit))
        front = (ADDRESSES[0], str(PORT), str(given.viewer), place)
        with contextlib.ExitStack() as opened_things:
            opened_things.enter_context(_namespaces())
            for command in (("tests.benchmarks.wan_link", HUB, SPOKE, *line),):
                opened_things.enter_context(_running(*command))
            opened_things.enter_context(
                _running("tests.benchmarks.archive_front", *front, within=HUB)
            )
            inside = ["ip", "netns", "exec", SPOKE, sys.executable, "-m", __spec__.name]
            ran = subprocess.run(
                [*inside, "--inside", *described, "--viewer", given.viewer,
                 "--repeats", str(given.repeats)],
                check=True, stdout=subprocess.PIPE,
            )  # fmt: skip
    by_kind = json.loads(ran.stdout)
    return {
        "first_frame_speedup": by_kind["long-ct"]["first_frame_speedup"],
        "whole_study_speedup": by_kind["long-ct"]["whole_study_speedup"],
        "spread": by_kind["long-ct"]["spread"],
        **by_kind,
        "slices": given.slices,
        "rtt_ms": given.rtt_ms,
        "rate_mbit": given.rate_mbit,
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }


def _kind(described: str) -> Kind:
    name, uid, files, frames = json.loads(described)
    return Kind(name, uid, tuple(map(Path, files)), frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewer", default=os.environ.get("OHIF_VIEWER"), required=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--tomosynthesis-slices", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rtt-ms", type=float, default=150)
    parser.add_argument("--rate-mbit", type=float, default=100)
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        kinds = [_kind(described) for described in given.inside]
        result = measure(Path(given.viewer), kinds, repeats=given.repeats)
        print(json.dumps(result))
        return
    if problem := _problem(given):
        sys.exit(problem)
    print(json.dumps(run(given), indent=None if given.json else 2))


def _problem(given: argparse.Namespace) -> str:
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        return "reader: needs root and /dev/net/tun"
    if not given.viewer or not (Path(given.viewer) / "index.html").is_file():
        return "reader: needs --viewer DIR or OHIF_VIEWER; `uv run teleprefetch viewer DIR` gets it"
    missing = [name for name in ("chromium", "Orthanc", "ip") if shutil.which(name) is None]
    return f"reader: needs {', '.join(missing)}" if missing else ""


if __name__ == "__main__":
    main()
