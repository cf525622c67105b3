"""Scenario 8: the disk is full, twice; the node opens, serves, and purges for good."""

import errno
import os
import subprocess

import pytest

from teleprefetch.edge.store.store import Store
from teleprefetch.errors import NodeUnavailableError, StudyNotFoundError
from tests.edge.fakes_for_node import ORIGIN, metadata, pointer
from tests.edge.filling import fill, read, served

SIZE_BYTES = 8 << 20


@pytest.fixture
def disk(tmp_path):
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a small disk be mounted")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def open_on(disk):
    opened = []

    def open_one():
        store = Store(disk / "store", 1 << 30, patience_s=0.5)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


def fill_up(disk, name):
    """Somebody else takes all that is left."""
    descriptor = os.open(disk / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (1 << 16, 1 << 12, 1):
            while True:
                try:
                    os.write(descriptor, bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break
    finally:
        os.close(descriptor)


def fill_until_full(store, series):
    with pytest.raises(NodeUnavailableError):
        fill(store, series, 40, size=1 << 19)


def held(store, series):
    return {name for name, frame in store.frames(ORIGIN, series).items() if frame}


def test_a_full_disk_during_a_warm_leaves_what_came_readable(disk, open_on):
    store = open_on()
    fill_until_full(store, pointer(1))
    came = held(store, pointer(1))
    assert len(came) >= 2
    assert store.verify(ORIGIN, pointer(1)) == came


def test_a_purge_succeeds_on_a_full_disk_and_holds(disk, open_on):
    store = open_on()
    fill(store, pointer(1), 4)
    fill_until_full(store, pointer(2))
    fill_up(disk, "filler")
    purged = store.purge(ORIGIN, pointer(1).image_set_id)
    assert (purged.versions, purged.frames, purged.found_after) == (1, 4, 0)
    fill_up(disk, "filler 2")
    purged = store.purge(ORIGIN, pointer(2).image_set_id)
    assert (purged.versions, purged.found_after) == (1, 0)
    assert store.rows() == []
    store.close()
    fill_up(disk, "filler 3")
    again = open_on()
    for series in (pointer(1), pointer(2)):
        with pytest.raises(StudyNotFoundError):
            again.put_metadata(ORIGIN, metadata(series, 1))


def test_a_node_opens_and_serves_on_a_disk_that_is_full_again_and_again(disk, open_on):
    store = open_on()
    names = fill(store, pointer(1), 4)
    store.close()
    for turn in range(3):
        fill_up(disk, f"filler {turn}")
        store = open_on()
        fill_up(disk, f"filler {turn} while it runs")
        assert store.verify(ORIGIN, pointer(1)) == names
        assert served(store, pointer(1), 2) is not None
        assert read(store.stored_metadata(store.rows()[0]))
        store.close()


def test_the_second_full_disk_takes_a_purge_too_and_its_tombstone_outlives_the_next_start(
    disk, open_on
):
    store = open_on()
    fill(store, pointer(1), 4)
    names = fill(store, pointer(2), 4)
    store.close()
    for turn in range(2):
        fill_up(disk, f"filler {turn}")
        store = open_on()
        fill_up(disk, f"filler {turn} while it runs")
        store.close()
    fill_up(disk, "the last")
    store = open_on()
    assert store.purge(ORIGIN, pointer(1).image_set_id).found_after == 0
    store.close()
    fill_up(disk, "the very last")
    store = open_on()
    assert [row.series for row in store.rows()] == [pointer(2)]
    assert store.verify(ORIGIN, pointer(2)) == names
    store.close()
    for filler in disk.glob("filler*"):
        filler.unlink()
    store = open_on()
    with pytest.raises(StudyNotFoundError):
        fill(store, pointer(1), 1)
    fill(store, pointer(3), 1)
    assert {row.series for row in store.rows()} == {pointer(2), pointer(3)}
