import os
import pickle
import sqlite3
import stat
from contextlib import ExitStack, closing

import pytest
from diskcache import Cache
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.bytes_disk import BytesDisk
from teleprefetch.edge.store.database import Database
from teleprefetch.edge.store.rows import frame_name, lineage
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.store.writing import Grouping
from teleprefetch.errors import (
    CorruptPayloadError,
    NodeUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, content, entry, image_set_id, metadata, pointer


def fill(store, series, count, *, size=0):
    store.put_metadata(ORIGIN, metadata(series, count))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, count + 1):
            bytes_ = os.urandom(size) if size else content(number)
            frame = Frame(content=bytes_, transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(entry(series, number), frame)
    return {frame_name(entry(series, number)) for number in range(1, count + 1)}


def segment_of(store, series):
    (row,) = [row for row in store.rows() if row.series == series]
    return store.frame(row, next(iter(store.frames(ORIGIN, series)))).path


def served(store, series, number):
    (row,) = store.of_study(series.study_instance_uid)
    frame = store.frame(row, frame_name(entry(series, number)))
    if frame is None:
        return None
    with frame.path.open("rb") as file:
        return os.pread(file.fileno(), frame.length_bytes, frame.offset)


def test_what_was_written_is_read_back_the_same(store):
    series = pointer()
    names = fill(store, series, 5)
    assert store.verify(ORIGIN, series) == names
    assert served(store, series, 3) == content(3)
    assert store.metadata(ORIGIN, series) == metadata(series, 5)


def test_the_directory_is_private(store, store_path):
    for path in (store_path, store_path / "segments", store_path / "index"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_no_file_name_holds_a_uid(store, store_path):
    fill(store, pointer(), 1)
    assert not [path for path in store_path.rglob("*") if "1.2.1" in path.name]


def test_a_frame_is_visible_only_once_its_group_is_committed(open_store):
    series = pointer()
    store = open_store(grouping=Grouping(frames=3, seconds=1e9))
    store.put_metadata(ORIGIN, metadata(series, 5))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, 5):
            frame = Frame(content=content(number), transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(entry(series, number), frame)
        assert len(store.frames(ORIGIN, series)) == 3
        assert writer.holds(frame_name(entry(series, 4)))
        store.commit(ORIGIN, series)
        assert len(store.frames(ORIGIN, series)) == 4


def test_a_group_is_committed_when_it_is_old_enough(open_store):
    series, now = pointer(), [0.0]
    store = open_store(grouping=Grouping(frames=100, seconds=0.05), monotonic_s=lambda: now[0])
    store.put_metadata(ORIGIN, metadata(series, 5))
    with store.writing(ORIGIN, series) as writer:
        frame = Frame(content=b"x", transfer_syntax_uid=HTJ2K_LOSSLESS)
        writer.append(entry(series, 1), frame)
        assert store.frames(ORIGIN, series) == {}
        now[0] = 0.06
        writer.append(entry(series, 2), frame)
        assert len(store.frames(ORIGIN, series)) == 2


def test_two_stores_on_one_directory_see_each_others_commits(open_store):
    series, first, second = pointer(), open_store(), open_store()
    names = fill(first, series, 3)
    assert second.verify(ORIGIN, series) == names
    second.purge(ORIGIN, series.image_set_id)
    assert first.rows() == []
    assert first.verify(ORIGIN, series) == set()


def test_the_revision_is_another_after_every_change_by_whichever_process(open_store):
    series, here, there = pointer(), open_store(), open_store()
    empty = here.revision()
    fill(there, series, 3)
    filled = here.revision()
    assert here.frame(here.rows()[0], ("1.2.1.1.1", 1))
    assert here.revision() == filled != empty
    there.purge(ORIGIN, series.image_set_id)
    assert here.revision() not in {empty, filled}
    assert here.rows() == []


def test_a_second_writing_process_is_refused(open_store):
    series, first, second = pointer(), open_store(), open_store()
    first.put_metadata(ORIGIN, metadata(series, 1))
    with (
        first.writing(ORIGIN, series),
        pytest.raises(NodeUnavailableError),
        second.writing(ORIGIN, series),
    ):
        pass


def test_a_store_opened_again_holds_the_same_and_goes_on_writing(open_store):
    series, first = pointer(), open_store()
    fill(first, series, 2)
    first.close()
    second = open_store()
    with second.writing(ORIGIN, series) as writer:
        assert writer.holds(frame_name(entry(series, 2)))
        frame = Frame(content=content(3), transfer_syntax_uid=HTJ2K_LOSSLESS)
        writer.append(entry(series, 3), frame)
    assert len(second.verify(ORIGIN, series)) == 3
    assert served(second, series, 1) == content(1)


def test_a_torn_tail_is_cut_and_an_orphan_removed_at_start(open_store, store_path):
    series, first = pointer(), open_store()
    fill(first, series, 2)
    path = segment_of(first, series)
    committed = path.stat().st_size
    first.close()
    with path.open("ab") as file:
        file.write(b"torn")
    orphan = store_path / "segments" / "orphan.seg"
    orphan.write_bytes(b"whatever")
    second = open_store()
    assert path.stat().st_size == committed
    assert not orphan.exists()
    assert len(second.verify(ORIGIN, series)) == 2


def test_a_segment_of_another_format_is_never_read(open_store):
    series, first = pointer(), open_store()
    fill(first, series, 2)
    path = segment_of(first, series)
    first.close()
    with path.open("r+b") as file:
        file.seek(5)
        file.write(b"\x07")
    second = open_store()
    assert second.rows() == []
    assert not path.exists()


@pytest.mark.parametrize("when", ["before it was ever checked", "after it was served"])
def test_a_corrupted_frame_is_dropped_and_never_served(open_store, when):
    series, store = pointer(), open_store()
    names = fill(store, series, 3)
    if when == "after it was served":
        assert served(store, series, 2) == content(2)
    location = store.frames(ORIGIN, series)[frame_name(entry(series, 2))]
    row = store.rows()[0]
    path = store._segments / row.segment
    with path.open("r+b") as file:
        file.seek(location.offset + 5)
        file.write(b"\xff\xfe\xfd")
    os.utime(path, ns=(1, 1))
    assert served(store, series, 2) is None
    assert not store.has(ORIGIN, series, frame_name(entry(series, 2)))
    assert served(store, series, 1) == content(1)
    assert store.verify(ORIGIN, series) == names - {frame_name(entry(series, 2))}
    with store.writing(ORIGIN, series) as writer:
        assert not writer.holds(frame_name(entry(series, 2)))
        frame = Frame(content=content(2), transfer_syntax_uid=HTJ2K_LOSSLESS)
        writer.append(entry(series, 2), frame)
    assert store.verify(ORIGIN, series) == names


def test_a_truncated_segment_serves_only_what_is_whole(store):
    series = pointer()
    fill(store, series, 3)
    location = store.frames(ORIGIN, series)[frame_name(entry(series, 3))]
    os.truncate(segment_of(store, series), location.offset + 10)
    assert served(store, series, 3) is None
    assert served(store, series, 1) == content(1)


def test_a_segment_that_is_gone_serves_nothing(store):
    series = pointer()
    fill(store, series, 2)
    segment_of(store, series).unlink()
    assert served(store, series, 1) is None
    assert store.verify(ORIGIN, series) == set()


def test_damaged_metadata_are_dropped(open_store, store_path):
    series, store = pointer(), open_store()
    fill(store, series, 1)
    (path,) = (store_path / "metadata").iterdir()
    packed = path.read_bytes()
    path.write_bytes(packed[:-1] + bytes([packed[-1] ^ 1]))
    assert store.metadata(ORIGIN, series) is None
    assert store.rows() == []
    assert store.counters.snapshot()["integrity_failures"] == 1


class Explosive:
    def __reduce__(self):
        return (os.mkdir, (os.environ["PLANTED"],))


PLANTED = {
    "key": "INSERT INTO Cache (key, raw, store_time, access_time, size, mode, value)"
    " VALUES (?, 0, 0, 0, 0, 1, 'x')",
    "value": "INSERT INTO Cache (key, raw, store_time, access_time, size, mode, value)"
    " VALUES ('series/x/1', 1, 0, 0, 0, 4, ?)",
    "value in a file": "INSERT INTO Cache (key, raw, store_time, access_time, size, mode, filename)"
    " VALUES ('series/x/1', 1, 0, 0, 0, 4, 'bomb')",
    "another file": "INSERT INTO Cache (key, raw, store_time, access_time, size, mode, filename)"
    " VALUES ('series/x/1', 1, 0, 0, 0, 3, '../../../../../etc/passwd')",
    "setting": "INSERT INTO Settings (key, value) VALUES ('disk_evil', ?)",
}


def plant(store_path, statement):
    bomb = pickle.dumps(Explosive())
    (store_path / "index" / "bomb").write_bytes(bomb)
    with closing(sqlite3.connect(store_path / "index" / "cache.db")) as database, database:
        database.execute(statement, (bomb,) * statement.count("?"))


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_pickle_is_refused_counted_and_removed_and_the_store_opens(
    open_store, store_path, monkeypatch, place
):
    monkeypatch.setenv("PLANTED", str(store_path / "ran"))
    series, first = pointer(), open_store()
    names = fill(first, series, 2)
    first.close()
    plant(store_path, PLANTED[place])
    second = open_store()
    assert second.counters.snapshot()["refused_entries"] == 1
    assert second.verify(ORIGIN, series) == names
    second.close()
    third = open_store()
    assert third.counters.snapshot()["refused_entries"] == 0
    assert not (store_path / "ran").exists()


@pytest.mark.parametrize("mode", [2, 3, 4])
def test_a_pickle_planted_while_the_store_is_open_is_not_run_either(
    open_store, store_path, monkeypatch, mode
):
    monkeypatch.setenv("PLANTED", str(store_path / "ran"))
    series, store = pointer(), open_store()
    names = fill(store, series, 2)
    row = store.rows()[0]
    other = open_store()
    bomb = pickle.dumps(Explosive())
    (store_path / "index" / "bomb").write_bytes(bomb)
    with closing(sqlite3.connect(store_path / "index" / "cache.db")) as database, database:
        database.execute(
            "UPDATE Cache SET mode = ?, value = ?, filename = 'bomb' WHERE key LIKE 'group/%'",
            (mode, bomb),
        )
    assert served(other, series, 1) == content(1)
    assert other.counters.snapshot()["refused_entries"] == 1
    assert other.verify(ORIGIN, series) == names
    assert other.rows()[0].segment == row.segment
    assert not (store_path / "ran").exists()


@pytest.mark.parametrize("value", [{"a": 1}, None, [1], True])
def test_what_would_need_pickle_is_not_written(tmp_path, value):
    with Cache(str(tmp_path), disk=BytesDisk) as cache:
        with pytest.raises(TypeError):
            cache.set("key", value)
        with pytest.raises(TypeError):
            cache.set(("a", "tuple"), "value")


def test_metadata_of_another_series_are_refused(store):
    damaged = metadata(pointer(), 2).model_copy(update={"series": pointer(series=2)})
    with pytest.raises(CorruptPayloadError):
        store.put_metadata(ORIGIN, damaged)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"[" * 5000, b"\xff", b'[{"a":NaN}]'])
def test_metadata_that_are_not_dicom_json_are_refused(store, text):
    damaged = metadata(pointer(), 1).model_copy(update={"dicom_json": text})
    with pytest.raises(CorruptPayloadError):
        store.put_metadata(ORIGIN, damaged)
    assert store.rows() == []


def test_a_newer_version_supersedes_the_older_and_its_file_goes(store):
    fill(store, pointer(), 3)
    old = segment_of(store, pointer())
    fill(store, pointer(version=2), 1)
    assert [row.series.version_id for row in store.of_study("1.2.1")] == [2]
    assert not old.exists()
    with pytest.raises(StudyNotFoundError):
        store.put_metadata(ORIGIN, metadata(pointer(), 3))


def test_a_purge_below_a_version_leaves_that_version(store):
    fill(store, pointer(version=3), 1)
    assert store.purge(ORIGIN, pointer().image_set_id, below_version=3).versions == 0
    assert store.purge(ORIGIN, pointer().image_set_id, below_version=4).versions == 1
    with pytest.raises(StudyNotFoundError):
        fill(store, pointer(version=3), 1)
    fill(store, pointer(version=4), 1)


def test_an_image_set_that_was_deleted_does_not_come_back(open_store):
    store = open_store()
    fill(store, pointer(), 2)
    path = segment_of(store, pointer())
    store.purge(ORIGIN, pointer().image_set_id)
    assert not path.exists()
    store.close()
    with pytest.raises(StudyNotFoundError):
        fill(open_store(), pointer(version=9), 2)


def test_a_writer_whose_segment_was_replaced_writes_into_nobody_elses_file(store, tmp_path):
    """Its descriptor's number is another file's by then; it was the index's once."""
    series = pointer()
    frame = Frame(content=content(1), transfer_syntax_uid=HTJ2K_LOSSLESS)
    store.put_metadata(ORIGIN, metadata(series, 2))
    with ExitStack() as stack:
        writer = stack.enter_context(store.writing(ORIGIN, series))
        writer.append(entry(series, 1), frame)
        store.put_metadata(ORIGIN, metadata(series, 2, patient_id="another"))
        assert stack.enter_context(store.writing(ORIGIN, series)) is not writer
        bystanders = [
            stack.enter_context((tmp_path / f"bystander {number}").open("w+b", buffering=0))
            for number in range(20)
        ]
        with pytest.raises(StudyNotFoundError):
            writer.append(entry(series, 2), frame)
        with pytest.raises(StudyNotFoundError):
            writer.commit()
        writer.close()
        for bystander in bystanders:
            bystander.write(b"!")
            assert os.fstat(bystander.fileno()).st_size == 1


def test_a_writer_that_cannot_be_opened_anew_is_closed_once(store, monkeypatch):
    series = pointer()

    def refuse(*_args, **_options):
        raise NodeUnavailableError("store: the disk failed")

    store.put_metadata(ORIGIN, metadata(series, 2))
    with store.writing(ORIGIN, series), monkeypatch.context() as patch:
        patch.setattr("teleprefetch.edge.store.store.Segment.open", refuse)
        store.put_metadata(ORIGIN, metadata(series, 2, patient_id="another"))
        with pytest.raises(NodeUnavailableError), store.writing(ORIGIN, series):
            pass
    assert fill(store, series, 2) == store.verify(ORIGIN, series)


def test_a_purge_beats_the_writer_that_is_under_way(store):
    series = pointer()
    store.put_metadata(ORIGIN, metadata(series, 2))
    frame = Frame(content=content(1), transfer_syntax_uid=HTJ2K_LOSSLESS)
    with store.writing(ORIGIN, series) as writer:
        writer.append(entry(series, 1), frame)
        store.purge(ORIGIN, series.image_set_id)
        with pytest.raises(StudyNotFoundError):
            writer.commit()
    assert store.rows() == []
    assert list(store._segments.iterdir()) == []


def test_dicomweb_series_have_neither_image_set_nor_purge_but_versions(store):
    series = pointer(image_set="")
    assert series.image_set_id is None
    fill(store, series, 2)
    fill(store, series.model_copy(update={"version_id": 5}), 5)
    assert [row.series.version_id for row in store.rows()] == [5]


def test_a_store_is_full_when_all_of_it_is_used(open_store):
    store = open_store(limit_bytes=6 << 20)
    series = pointer()
    store.put_metadata(ORIGIN, metadata(series, 9))
    with store.writing(ORIGIN, series) as writer:
        frame = Frame(content=bytes(1 << 20), transfer_syntax_uid=HTJ2K_LOSSLESS)

        def write_all():
            for number in range(1, 10):
                writer.append(entry(series, number), frame)

        with pytest.raises(NodeUnavailableError, match="store is full"):
            write_all()
    held = store.verify(ORIGIN, series)
    assert 2 <= len(held) <= 5
    assert store.purge(ORIGIN, series.image_set_id).versions == 1
    assert store.rows() == []


def test_a_purge_holds_though_the_index_cannot_be_written(open_store, monkeypatch):
    store, series = open_store(), pointer()
    fill(store, series, 1)

    def refuse(*_args):
        raise NodeUnavailableError("store: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", refuse)
        purged = store.purge(ORIGIN, series.image_set_id)
        assert (purged.versions, purged.frames, purged.found_after) == (1, 1, 0)
        assert store.of_study("1.2.1") == []
        assert list(store._segments.iterdir()) == []
    store.close()
    second = open_store()
    assert second.rows() == []
    assert second._index.stored_row(f"{lineage(ORIGIN, series)}/1") is None
    with pytest.raises(StudyNotFoundError):
        fill(second, series, 1)


class Versions(RuleBasedStateMachine):
    """Creates, updates and deletes in any order: deleted stays deleted, old never beats new."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name), 1 << 28)
        self.deleted = False
        self.highest = 0
        self.held = set()

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(version=st.integers(1, 4))
    def create(self, version):
        allowed = not self.deleted and version >= self.highest
        try:
            fill(self.store, pointer(version=version), 1)
        except StudyNotFoundError:
            assert not allowed
        else:
            assert allowed
            self.highest, self.held = version, {version}

    @rule(version=st.integers(1, 4))
    def purge_below(self, version):
        self.store.purge(ORIGIN, pointer().image_set_id, below_version=version)
        self.highest = max(self.highest, version)
        self.held = {held for held in self.held if held >= version}

    @precondition(lambda self: not self.deleted)
    @rule()
    def delete(self):
        self.store.purge(ORIGIN, pointer().image_set_id)
        self.deleted, self.held = True, set()

    @rule()
    def reopen(self):
        from pathlib import Path

        self.store.close()
        self.store = Store(Path(self.folder.name), 1 << 28)

    @invariant()
    def exactly_what_is_expected_is_served(self):
        rows = self.store.of_study("1.2.1")
        assert {row.series.version_id for row in rows} == self.held
        assert all(self.store.verify(ORIGIN, row.series) for row in rows)
        assert len(list(self.store._segments.iterdir())) == len(self.held)
        assert len(list(self.store._files._metadata.iterdir())) == len(self.held)


TestVersions = Versions.TestCase
TestVersions.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("value", ['{"segment": "../../etc/passwd"}', "", 7, "x" * 40])
def test_an_index_row_that_is_not_ours_is_refused_and_the_store_opens(
    open_store, store_path, value
):
    open_store().close()
    with Cache(str(store_path / "index"), disk=BytesDisk) as raw:
        raw["series/x/1"] = value
    store = open_store()
    assert store.rows() == []
    assert store.counters.snapshot()["refused_entries"] == 1


def test_purges_name_no_image_set_of_another_origin(store):
    fill(store, pointer(), 1)
    assert store.purge("another", image_set_id(101)).versions == 0
    assert len(store.rows()) == 1
