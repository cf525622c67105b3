"""Scenario 7: after a power cut everything that was shown is there, and nothing torn is.

The model: what was written and not synced may be there, in part, as zeros, as noise, or not at
all; a name whose directory was not synced may be gone. The cut comes at each sync and commit,
before and after. SQLite is trusted to keep a commit that it was asked to make durable.
"""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.database import Database
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.store.writing import Grouping
from teleprefetch.errors import NodeUnavailableError, StudyNotFoundError
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, entry, metadata, pointer
from tests.edge.filling import read


class Power:
    """Follows what is durable of a store, and cuts: each cut is a copy as it would be found."""

    def __init__(self, store_path, cuts_path, chance):
        self._store_path = store_path
        self._cuts_path = cuts_path
        self._chance = chance
        self.durable_bytes = {}
        self.tombstones = None
        self.durable_names = set()
        self.cuts = []
        self.shown = dict
        self.may_go = set()

    def synced(self, descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == "tombstones":
            self.tombstones = path.read_bytes()
        elif path.is_dir():
            self.durable_names |= {*path.iterdir()}
        else:
            self.durable_bytes[path] = path.stat().st_size

    def cut(self, shown=None):
        found = self._cuts_path / str(len(self.cuts))
        shutil.copytree(
            self._store_path,
            found,
            ignore=lambda _folder, names: [name for name in names if name.endswith("-shm")],
        )
        if self.tombstones is not None:
            (found / "tombstones").write_bytes(self.tombstones)
        for folder in ("segments", "metadata"):
            for path in (found / folder).iterdir():
                self._lose(path, self._store_path / folder / path.name)
        shown = self.shown() if shown is None else shown
        self.cuts.append((found, shown, set(self.may_go)))

    def _lose(self, path, original):
        if original not in self.durable_names and self._chance.random() < 0.5:
            path.unlink()
            return
        size, durable = path.stat().st_size, self.durable_bytes.get(original, 0)
        if size <= durable:
            return
        kept = self._chance.randint(durable, size)
        tail = self._chance.choice([b"", bytes(size - kept), os.urandom(size - kept)])
        with path.open("r+b") as file:
            file.seek(kept)
            file.truncate()
            file.write(tail)


def bytes_of(study, version, number):
    return f"{study}.{version}.{number:04d} ".encode() * (50 + number * 37 % 200)


def write(store, study, version, count):
    series = pointer(study, version=version)
    store.put_metadata(ORIGIN, metadata(series, count, with_checksums=False))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, count + 1):
            content = bytes_of(study, version, number)
            frame = Frame(content=content, transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(entry(series, number), frame)


def shown_by(store):
    return {
        (row.series.study_instance_uid, row.series.version_id, name[0]): read(frame)
        for row in store.rows()
        for name in store.frames(ORIGIN, row.series)
        if (frame := store.frame(row, name)) is not None
    }


@pytest.fixture
def power(store_path, tmp_path, monkeypatch):
    power = Power(store_path, tmp_path / "cuts", random.Random(3))  # noqa: S311
    fdatasync, fsync, transaction = os.fdatasync, os.fsync, Database.transaction

    def syncing(sync):
        def synced(descriptor):
            power.cut()
            sync(descriptor)
            power.synced(descriptor)
            power.cut()

        return synced

    def committing(database):
        class Committing:
            def __enter__(self):
                self.shown = power.shown()  # this thread would see what it has not committed
                self.inner = transaction(database)
                return self.inner.__enter__()

            def __exit__(self, *error):
                power.cut(self.shown)
                answer = self.inner.__exit__(*error)
                power.cut()
                return answer

        return Committing()

    def start():
        power.tombstones = (store_path / "tombstones").read_bytes()
        monkeypatch.setattr(os, "fdatasync", syncing(fdatasync))
        monkeypatch.setattr(os, "fsync", syncing(fsync))
        monkeypatch.setattr(Database, "transaction", committing)

    power.start, power.end = start, monkeypatch.undo
    return power


def test_after_a_power_cut_all_that_was_shown_is_there_and_nothing_else_is(store_path, power):
    store = Store(store_path, 1 << 28, grouping=Grouping(frames=4, seconds=1e9))
    write(store, 1, 1, 6)
    for path in store_path.rglob("*"):
        power.durable_bytes[path] = path.stat().st_size if path.is_file() else 0
        power.durable_names.add(path)
    power.shown = lambda: shown_by(store)
    power.start()
    write(store, 2, 1, 10)
    power.may_go = {("1.2.1", 1)}
    write(store, 1, 2, 9)
    power.may_go = {("1.2.2", 1)}
    store.purge(ORIGIN, pointer(2).image_set_id)
    power.end()
    store.close()
    assert len(power.cuts) > 40
    lossy = 0
    for path, shown, may_go in power.cuts:
        after = Store(path, 1 << 28)
        found = shown_by(after)
        for (study, version, sop), content in found.items():
            study, number = int(study[4:]), int(sop.rsplit(".", 1)[1])
            assert content == bytes_of(study, version, number)
        gone = shown.keys() - found.keys()
        # Of what is being replaced or purged all is there, or nothing.
        assert {key[:2] for key in gone} <= may_go - {key[:2] for key in found}
        lossy += bool(gone)
        kept = {row.segment for row in after.rows()}
        assert {one.name for one in (path / "segments").iterdir()} == kept
        assert all(
            (path / "segments" / row.segment).stat().st_size == row.segment_bytes
            for row in after.rows()
        )
        after.close()
    assert lossy >= 1


def test_a_purge_that_was_answered_outlasts_a_power_cut(store_path, power, monkeypatch):
    """Though the index took nothing of it."""

    def refuse(_database):
        raise NodeUnavailableError("store: the disk is full")

    store = Store(store_path, 1 << 28)
    write(store, 1, 1, 3)
    power.start()
    monkeypatch.setattr(Database, "transaction", refuse)
    store.purge(ORIGIN, pointer(1).image_set_id)
    power.cut()
    power.end()
    store.close()
    after = Store(power.cuts[-1][0], 1 << 28)
    assert after.rows() == []
    with pytest.raises(StudyNotFoundError):
        write(after, 1, 2, 1)
    after.close()


def test_what_sqlite_commits_is_asked_to_be_durable(store):
    with closing(sqlite3.connect(store._index._database._path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    synchronous = store._index._database._cache._sql("PRAGMA synchronous").fetchone()
    assert synchronous == (2,)
