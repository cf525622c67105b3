"""Scenario 9, 35 and 40: the index is damaged, lost, locked, or of another format."""

import os
import sqlite3
import struct
from contextlib import closing

import pytest

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store import segments
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import NodeUnavailableError, StudyNotFoundError
from tests.edge.fakes_for_node import ORIGIN, content, image_set_id, metadata, pointer
from tests.edge.filling import fill, segment_of, served


def zero_header(path):
    with path.open("r+b") as file:
        file.write(bytes(100))


def tear(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 100)


def fill_with_noise(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def remove(path):
    for name in ("cache.db", "cache.db-wal", "cache.db-shm"):
        path.with_name(name).unlink(missing_ok=True)


def empty(path):
    path.write_bytes(b"")


def no_database(path):
    path.write_bytes(b"this is no database " * 1000)


DAMAGES = [zero_header, tear, fill_with_noise, remove, empty, no_database]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_index_is_made_again_from_the_files(open_store, store_path, damage):
    first = open_store()
    names = {series: fill(first, series, 5) for series in (pointer(1), pointer(2))}
    first.purge(ORIGIN, image_set_id(301))
    first.close()
    damage(store_path / "index" / "cache.db")
    second = open_store()
    for series, expected in names.items():
        assert second.metadata(ORIGIN, series) == metadata(series, 5)
        assert second.verify(ORIGIN, series) == expected
        assert served(second, series, 3) == content(3)
    with pytest.raises(StudyNotFoundError):
        fill(second, pointer(3), 1)
    second.close()
    third = open_store()
    assert len(third.rows()) == 2
    assert third.counters.snapshot()["index_rebuilds"] == 0


def test_a_damaged_index_is_set_aside_and_removed_by_the_next_purge(open_store, store_path):
    first = open_store()
    fill(first, pointer(), 2)
    first.close()
    zero_header(store_path / "index" / "cache.db")
    second = open_store()
    aside = store_path / "index.damaged"
    assert (aside / "cache.db").read_bytes()[:100] == bytes(100)
    assert second.counters.snapshot()["index_rebuilds"] == 1
    second.purge(ORIGIN, pointer().image_set_id)
    assert not aside.exists()


def test_an_index_damaged_under_a_running_node_is_made_again_and_nothing_is_lost(
    open_store, store_path
):
    store, other = open_store(patience_s=1.0), open_store(patience_s=1.0)
    names = fill(store, pointer(), 5)
    assert other.verify(ORIGIN, pointer()) == names
    store._index.forget_deleted()
    no_database(store_path / "index" / "cache.db")
    for one in (store, other):
        one.close_thread()
    with pytest.raises(NodeUnavailableError):
        fill(store, pointer(2), 1)
    assert served(store, pointer(), 3) == content(3)
    fill(store, pointer(2), 1)
    assert {row.series for row in other.rows()} == {pointer(), pointer(2)}
    assert other.verify(ORIGIN, pointer()) == names


def test_the_newest_version_wins_when_files_of_two_are_found(open_store, store_path):
    store = open_store()
    fill(store, pointer(version=1), 2)
    (old,) = store._segments.iterdir()
    kept = {path: path.read_bytes() for path in (old, store._files.metadata(old.name))}
    fill(store, pointer(version=2), 3)
    store.close()
    for path, bytes_ in kept.items():
        path.write_bytes(bytes_)
    remove(store_path / "index" / "cache.db")
    again = open_store()
    assert [row.series.version_id for row in again.rows()] == [2]
    assert not old.exists()


def test_what_a_lost_index_had_dropped_is_proven_anew_before_it_is_served(open_store, store_path):
    store, series = open_store(), pointer()
    names = fill(store, series, 3)
    held = store.frames(ORIGIN, series)[("1.2.1.1.2", 1)]
    with segment_of(store, series).open("r+b") as file:
        file.seek(held.offset)
        file.write(b"\0\0\0\0")
    store.close()
    remove(store_path / "index" / "cache.db")
    again = open_store()
    assert served(again, series, 2) is None
    assert again.verify(ORIGIN, series) == names - {("1.2.1.1.2", 1)}
    assert again.counters.snapshot()["integrity_failures"] == 1


def test_a_segment_copied_under_another_name_is_never_adopted(open_store):
    store = open_store()
    fill(store, pointer(1), 2)
    fill(store, pointer(2), 2, bytes_of=lambda number: content(number + 10))
    one, two = segment_of(store, pointer(1)), segment_of(store, pointer(2))
    store.close()
    two.write_bytes(one.read_bytes())
    again = open_store()
    assert served(again, pointer(1), 1) == content(1)
    assert served(again, pointer(2), 1) is None


def test_another_versions_file_under_this_name_is_never_served(open_store):
    store = open_store()
    fill(store, pointer(1), 2)
    fill(store, pointer(2), 2, bytes_of=lambda number: content(number + 10))
    one, two = segment_of(store, pointer(1)), segment_of(store, pointer(2))
    two.write_bytes(one.read_bytes())
    assert served(store, pointer(2), 1) is None
    assert store.counters.snapshot()["integrity_failures"] >= 1
    assert served(store, pointer(1), 1) == content(1)


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_files_of_another_format_are_never_read(open_store, store_path, version, monkeypatch):
    first = open_store()
    fill(first, pointer(1), 2)
    fill(first, pointer(2), 2)
    path = segment_of(first, pointer(1))
    first.close()
    with path.open("r+b") as file:
        file.seek(5)
        file.write(bytes([version]))
    remove(store_path / "index" / "cache.db")
    second = open_store()
    assert [row.series for row in second.rows()] == [pointer(2)]
    assert not path.exists()


def test_an_index_of_another_format_is_emptied_and_made_again(open_store, store_path):
    first = open_store()
    names = fill(first, pointer(), 3)
    first.close()
    with closing(sqlite3.connect(store_path / "index" / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET value = 1 WHERE key = 'format'")
        database.execute("UPDATE Cache SET value = 'of long ago' WHERE key LIKE 'series/%'")
    second = open_store()
    assert second.verify(ORIGIN, pointer()) == names


def test_the_first_rounds_segments_and_rows_are_ignored(store_path, open_store):
    open_store().close()
    remove(store_path / "index" / "cache.db")
    old = store_path / "segments" / "0123456789abcdef-1-0123456789abcdef.seg"
    old.write_bytes(struct.pack(">5sBH", b"TPSEG", 1, 5) + b"key/1" + b"FRAM" + bytes(100))
    store = open_store()
    assert store.rows() == []
    assert not old.exists()


def test_a_locked_index_holds_up_no_hit_and_no_start(open_store, store_path):
    """Somebody holds the lock for longer than anybody waits: hits go on, writes end in time."""
    series, store = pointer(), open_store(patience_s=0.2)
    names = fill(store, series, 3)
    with closing(sqlite3.connect(store_path / "index" / "cache.db", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        assert served(store, series, 2) == content(2)
        assert store.verify(ORIGIN, series) == names
        with pytest.raises(NodeUnavailableError):
            fill(store, pointer(2), 1)
        started = open_store(patience_s=0.2)
        assert served(started, series, 2) == content(2)
        purged = started.purge(ORIGIN, series.image_set_id)
        assert (purged.versions, purged.found_after) == (1, 0)
        assert served(started, series, 2) is served(store, series, 2) is None
        lock.execute("ROLLBACK")
    fill(store, pointer(2), 1)
    assert [row.series for row in store.rows()] == [pointer(2)]


def test_a_store_that_opened_without_its_index_writes_again_when_it_can(open_store, store_path):
    series = pointer()
    first = open_store()
    names = fill(first, series, 3)
    first.close()
    with closing(sqlite3.connect(store_path / "index" / "cache.db", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        store = open_store(patience_s=0.1)
        assert store.verify(ORIGIN, series) == names
        lock.execute("ROLLBACK")
    fill(store, pointer(2), 1)
    assert {row.series for row in store.rows()} == {series, pointer(2)}
    assert store.verify(ORIGIN, series) == names


def test_a_writer_that_dies_with_the_generation_odd_leaves_readers_that_ask(open_store):
    store, other = open_store(), open_store()
    fill(store, pointer(), 1)
    other._index._generation.begin()
    fill(store, pointer(2), 1)
    other._index._generation.begin()
    assert len(other.rows()) == len(store.rows()) == 2
    assert store._index._generation.settled is None


def test_the_format_of_a_segment_is_one_byte_that_says_two(open_store):
    store = open_store()
    fill(store, pointer(), 1)
    assert segment_of(store, pointer()).read_bytes()[:6] == b"TPSEG\x02"
    assert segments.FORMAT == 2


def test_a_store_is_its_directory(tmp_path):
    """Nothing outside it is needed: moved, it holds the same."""
    store = Store(tmp_path / "one", 1 << 28)
    names = fill(store, pointer(), 3)
    store.close()
    (tmp_path / "one").rename(tmp_path / "two")
    moved = Store(tmp_path / "two", 1 << 28)
    assert moved.verify(ORIGIN, pointer()) == names
    moved.close()


def test_one_flipped_bit_in_a_row_changes_no_meaning(open_store, store_path):
    """A frame's transfer syntax is in the index alone among what is served: it is sealed."""
    first = open_store()
    names = fill(first, pointer(), 3)
    first.close()
    with closing(sqlite3.connect(store_path / "index" / "cache.db")) as database, database:
        changed = database.execute(
            "UPDATE Cache SET value = replace(value, '4.201', '4.203') WHERE key LIKE 'group/%'"
        )
        assert changed.rowcount == 1
    second = open_store()
    (row,) = second.rows()
    found = [second.frame(row, name) for name in names]
    assert {one.transfer_syntax_uid for one in found} == {HTJ2K_LOSSLESS}
    assert second.counters.snapshot()["refused_entries"] == 1
