"""Frames are appended while others are synced, and stay proven while others are appended."""

import os
import threading

import pytest

from teleprefetch.edge.store import proofs, writing
from teleprefetch.edge.store.segments import Segment
from teleprefetch.edge.store.writing import Grouping
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, content, entry, eventually, metadata, pointer

SERIES = pointer()
SYNTAX = "1.2.840.10008.1.2.4.201"
LATER = Grouping(frames=2, seconds=3600)


@pytest.fixture
def reads(monkeypatch):
    """How many frames were read back from the disk, each time."""
    counts = []
    plain = proofs.digests_on_disk

    def counting(descriptor, ranges):
        counts.append(len(ranges))
        return plain(descriptor, ranges)

    monkeypatch.setattr(proofs, "digests_on_disk", counting)
    return counts


@pytest.fixture
def held_up(monkeypatch):
    """Syncs wait until the event is set."""
    may_end, syncing = threading.Event(), threading.Event()
    may_end.set()
    plain = Segment.sync

    def sync(self):
        syncing.set()
        assert may_end.wait(10)
        plain(self)

    monkeypatch.setattr(Segment, "sync", sync)
    yield may_end, syncing
    may_end.set()


def append(store, number):
    with store.writing(ORIGIN, SERIES) as writer:
        frame = Frame(content=content(number), transfer_syntax_uid=SYNTAX)
        writer.append(entry(SERIES, number), frame)


def in_thread(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


def segment_of(store):
    (row,) = store.rows()
    return store._segments / row.segment


def names(*numbers):
    return {(f"{SERIES.series_instance_uid}.{number}", 1) for number in numbers}


def test_others_go_on_appending_while_a_group_is_synced(open_store, held_up):
    store = open_store(grouping=LATER)
    store.put_metadata(ORIGIN, metadata(SERIES, 8))
    may_end, syncing = held_up
    may_end.clear()
    syncing.clear()
    with store.using(ORIGIN, SERIES):
        append(store, 1)
        second = in_thread(append, store, 2)
        assert syncing.wait(10)
        for number in (3, 4, 5):
            append(store, number)
        with store.writing(ORIGIN, SERIES) as writer:
            assert all(writer.holds(name) for name in names(1, 2, 3, 4, 5))
            assert not writer.holds(("1.2.1.1.6", 1))
        assert store.frames(ORIGIN, SERIES) == {}
        may_end.set()
        second.join()
        assert store.frames(ORIGIN, SERIES).keys() == names(1, 2)
        store.commit(ORIGIN, SERIES)
    assert store.verify(ORIGIN, SERIES) == names(1, 2, 3, 4, 5)


def test_nobody_gets_further_ahead_of_the_disk_than_is_allowed(open_store, held_up, monkeypatch):
    monkeypatch.setattr(writing, "_MOST_AHEAD_BYTES", 2 * len(content(1)))
    store = open_store(grouping=LATER)
    store.put_metadata(ORIGIN, metadata(SERIES, 8))
    may_end, syncing = held_up
    may_end.clear()
    syncing.clear()
    with store.using(ORIGIN, SERIES):
        append(store, 1)
        threads = [in_thread(append, store, 2)]
        assert syncing.wait(10)
        threads += [in_thread(append, store, number) for number in (3, 4, 5, 6)]
        eventually(lambda: sum(thread.is_alive() for thread in threads) >= 2)
        may_end.set()
        for thread in threads:
            thread.join()
    assert store.verify(ORIGIN, SERIES) == names(1, 2, 3, 4, 5, 6)


def test_a_group_that_cannot_be_synced_is_published_with_the_next(open_store, monkeypatch):
    store = open_store(grouping=LATER)
    store.put_metadata(ORIGIN, metadata(SERIES, 8))
    plain, fails = os.fdatasync, [True]

    def fdatasync(descriptor):
        if fails.pop() if fails else False:
            raise OSError(5, "the disk failed")
        plain(descriptor)

    monkeypatch.setattr("teleprefetch.edge.store.segments.os.fdatasync", fdatasync)
    with store.using(ORIGIN, SERIES):
        append(store, 1)
        with pytest.raises(NodeUnavailableError):
            append(store, 2)
        append(store, 3)
        assert store.frames(ORIGIN, SERIES).keys() == names(1, 2, 3)


def test_each_frame_is_read_back_once_while_its_series_is_written(open_store, reads):
    store = open_store(grouping=LATER)
    store.put_metadata(ORIGIN, metadata(SERIES, 8))
    with store.using(ORIGIN, SERIES):
        for number in range(1, 9):
            append(store, number)
            store.verify(ORIGIN, SERIES)
        assert store.verify(ORIGIN, SERIES) == names(*range(1, 9))
    assert sum(reads) == 8


def test_what_another_changes_between_appends_is_read_again(open_store, reads):
    store = open_store(grouping=LATER)
    store.put_metadata(ORIGIN, metadata(SERIES, 8))
    with store.using(ORIGIN, SERIES):
        for number in (1, 2, 3, 4):
            append(store, number)
        held = store.frames(ORIGIN, SERIES)[("1.2.1.1.2", 1)]
        with segment_of(store).open("r+b") as file:
            file.seek(held.offset)
            file.write(b"rot")
        for number in (5, 6):
            append(store, number)
        assert store.verify(ORIGIN, SERIES) == names(1, 3, 4, 5, 6)
    assert sum(reads) > 6


def test_frames_that_lie_apart_and_at_the_end_are_proven_too(store):
    store.put_metadata(ORIGIN, metadata(SERIES, 5))
    with store.using(ORIGIN, SERIES):
        for number in range(1, 6):
            append(store, number)
    for asked in (names(1), names(1, 5), names(2, 4), names(1, 2, 3, 4, 5)):
        assert store.verify(ORIGIN, SERIES, frames=asked) == asked
