"""Scenario 1: a hundred kills at random points; no wrong byte, no leak, nothing fetched twice."""

import multiprocessing
import os
import random
import signal
import time

from teleprefetch.edge.store.store import Store
from tests.edge import fast_writer
from tests.edge.fakes_for_node import ORIGIN, metadata, pointer
from tests.edge.fast_writer import COUNT, STUDIES, bytes_of
from tests.edge.filling import read

KILLS = 100


# Forked from a process that has imported all: kills fall on work, and not on imports.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([fast_writer.__name__])


def start(store_path, log_path):
    process = FORKS.Process(target=fast_writer.main, args=(str(store_path), str(log_path)))
    process.start()
    return process


def wait_for(log_path, word, process):
    ends = time.monotonic() + 10
    while process.is_alive() and time.monotonic() < ends:
        if log_path.exists() and word in log_path.read_text():
            return
        os.sched_yield()


def lines_of(log_path, kind):
    if not log_path.exists():
        return []
    words = (line.split() for line in log_path.read_text().splitlines())
    return [(int(one[1]), int(one[2])) for one in words if one[0] == kind and len(one) == 3]


def visible(store):
    """The frames that are served; each is whole and its own, or the test fails."""
    found = set()
    for study in range(1, STUDIES + 1):
        series = pointer(study)
        for row in store.of_study(series.study_instance_uid):
            for name in store.frames(ORIGIN, series):
                number = int(name[0].rsplit(".", 1)[1])
                frame = store.frame(row, name)
                assert frame is not None
                assert read(frame) == bytes_of(study, number)
                found.add((study, number))
    return found


def leaked(store, store_path):
    """Bytes of files that no row accounts for."""
    rows = {row.segment: row for row in store.rows()}
    sizes = {path.name: path.stat().st_size for path in (store_path / "segments").iterdir()}
    packed = {path.name for path in (store_path / "metadata").iterdir()}
    assert packed == {f"{name}.json.gz" for name in rows}
    return {
        name: size
        for name, size in sizes.items()
        if name not in rows or size != rows[name].segment_bytes
    }


def test_a_hundred_kills_leave_no_wrong_byte_no_leak_and_nothing_to_fetch_twice(tmp_path):
    chance = random.Random(7)  # noqa: S311  # repeatable, not secret
    store_path = tmp_path / "store"
    proven, kills, rounds, busy, attempts = set(), 0, 0, 0, 0
    while kills < KILLS:
        attempts += 1
        log_path = tmp_path / f"log-{attempts}"
        process = start(store_path, log_path)
        awaited = chance.choice(["", "opened", "opened", "fetched"])
        wait_for(log_path, awaited, process)
        time.sleep(chance.choice([0.0, 0.01, 0.08]) * chance.random())
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        process.close()
        fetched = lines_of(log_path, "fetched")
        busy += bool(fetched)
        assert not proven & {*fetched}, "fetched again though it was proven"
        proven |= {*lines_of(log_path, "proven")}
        store = Store(store_path, 1 << 28)
        found = visible(store)
        assert proven <= found, "what was proven is gone"
        assert leaked(store, store_path) == {}
        proven = found
        assert store.counters.snapshot()["integrity_failures"] == 0
        if len(found) == STUDIES * COUNT:
            rounds += 1
            for study in range(1, STUDIES + 1):  # begin anew, as the next version
                store.purge(ORIGIN, pointer(study).image_set_id, below_version=1)
                store._discard(store.of_study(f"1.2.{study}")[0])
            proven = set()
        store.close()
    assert busy > KILLS / 4, "the kills did not fall on work"
    assert rounds >= 1
    store = Store(store_path, 1 << 28)
    for study in range(1, STUDIES + 1):
        store.put_metadata(ORIGIN, metadata(pointer(study), COUNT, with_checksums=False))
    assert len(store.rows()) == STUDIES
    store.close()
