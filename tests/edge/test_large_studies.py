"""Scenario 41: 512 MB of memory are enough for the largest studies."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from teleprefetch.edge.archives.retrieving import Memory
from tests.edge.large_studies import CT_FRAMES, TOMO_BYTES, TOMO_FRAMES

ROOT = Path(__file__).parents[2]


def test_half_a_gigabyte_is_enough_for_4000_frames_and_for_2_gb(tmp_path):
    if shutil.disk_usage(tmp_path).free < 4 << 30:
        pytest.skip("the disk has no room for 2 GB")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.edge.large_studies", str(tmp_path / "store")],
        cwd=ROOT,
        capture_output=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    took = json.loads(ran.stdout)
    print(took)
    assert (took["state"], took["frames"]) == ("warm", CT_FRAMES + TOMO_FRAMES)
    assert took["bytes"] > TOMO_FRAMES * TOMO_BYTES > 2e9
    assert took["resident_mb"] < 512


def test_frames_wait_for_memory_and_one_alone_never_does():
    memory, running, most, lock = Memory(100), [0], [0], threading.Lock()

    def work(size):
        with memory.taken(size):
            with lock:
                running[0] += size
                most[0] = max(most[0], running[0])
            time.sleep(0.002)
            with lock:
                running[0] -= size

    with memory.taken(1000):
        pass
    threads = [threading.Thread(target=work, args=(40,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 40 <= most[0] <= 80
