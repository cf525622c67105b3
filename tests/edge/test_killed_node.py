import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from teleprefetch.model import WarmReport
from tests.edge.fakes_for_node import ORIGIN, eventually, pointer
from tests.edge.killed_warmer import COUNT, bytes_of

ROOT = Path(__file__).parents[2]


def warm(store_path, log_path):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.edge.killed_warmer", str(store_path), str(log_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


def fetched_frames(log_path):
    return [int(line) for line in log_path.read_text().split()] if log_path.exists() else []


def read_all(store):
    """The numbers of the frames that are visible; each is whole, or the test fails."""
    numbers = set()
    for row in store.rows():
        for name in store.frames(ORIGIN, row.series):
            frame = store.frame(row, name)
            number = int(name[0].rsplit(".", 1)[1])
            with frame.path.open("rb") as file:
                read = os.pread(file.fileno(), frame.length_bytes, frame.offset)
            assert read == bytes_of(number)
            numbers.add(number)
    return numbers


@pytest.mark.parametrize("seed", range(2))
def test_a_node_killed_at_any_point_shows_no_torn_frame_and_resumes(
    open_store, store_path, tmp_path, seed
):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    proven = set()
    for attempt in range(5):
        log_path = tmp_path / f"log-{attempt}"
        process = warm(store_path, log_path)
        enough = chance.randint(1, 45)
        eventually(
            lambda log_path=log_path, enough=enough, process=process: (
                len(fetched_frames(log_path)) >= enough or process.poll() is not None
            ),
            within_s=30,
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not proven & {*fetched_frames(log_path)}
        store = open_store()
        visible = read_all(store)
        assert visible >= proven
        assert len(store.verify(ORIGIN, pointer())) == len(visible)
        segments = [path.stat().st_size for path in (store_path / "segments").iterdir()]
        assert segments == [row.segment_bytes for row in store.rows()]
        proven = visible
        store.close()
    log_path = tmp_path / "log-last"
    process = warm(store_path, log_path)
    report = WarmReport.parse_json(process.communicate(timeout=60)[0])
    assert (report.state, report.frames_verified) == ("warm", COUNT)
    assert report.frames_fetched == COUNT - len(proven)
    assert {*fetched_frames(log_path)} == {*range(1, COUNT + 1)} - proven
    store = open_store()
    assert read_all(store) == {*range(1, COUNT + 1)}
