"""Scenario 19: two workers and a server on one directory, with evictions all the time."""

import ast
import subprocess
import sys
import threading
from pathlib import Path

from teleprefetch.edge.store.store import Store
from tests.edge.churning_process import LIMIT_BYTES, bytes_of
from tests.edge.fakes_for_node import ORIGIN
from tests.edge.filling import read

ROOT = Path(__file__).parents[2]
SECONDS = 12


def bytes_on_disk(path):
    total = 0
    for one in path.rglob("*"):
        try:
            total += one.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def test_processes_that_share_a_store_keep_its_limit_and_never_read_a_wrong_byte(tmp_path):
    store_path = tmp_path / "store"
    Store(store_path, LIMIT_BYTES).close()
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.edge.churning_process",
                str(store_path),
                str(seed),
                str(SECONDS),
                str(seed == 3),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for seed in (1, 2, 3)
    ]
    ended, most_bytes = threading.Event(), [0]

    def watch():
        while not ended.wait(0.05):
            most_bytes[0] = max(most_bytes[0], bytes_on_disk(store_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answers = [process.communicate(timeout=60) for process in processes]
    finally:
        ended.set()
        watcher.join()
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0, 0], answers
    counts = [ast.literal_eval(out.decode()) for out, _ in answers]
    print(counts, most_bytes[0] / LIMIT_BYTES, [err.decode()[-600:] for _, err in answers])
    assert all(one["failures"] == 0 for one in counts)
    assert all(one["written"] > 10 for one in counts[:2])
    assert counts[2]["right"] > 100
    assert most_bytes[0] <= 1.1 * LIMIT_BYTES
    store = Store(store_path, LIMIT_BYTES)
    assert store.used_bytes() <= LIMIT_BYTES
    rows = store.rows()
    assert rows
    for row in rows:
        for name in store.frames(ORIGIN, row.series):
            number = int(name[0].rsplit(".", 1)[1])
            assert read(store.frame(row, name)) == bytes_of(row.series, number)
    assert len({row.series.study_instance_uid for row in rows}) == len(rows)
    assert {path.name for path in store._segments.iterdir()} == {row.segment for row in rows}
    store.close()
