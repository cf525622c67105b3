"""Scenario 4: the newest version; of what is deleted nothing, of what is the same no fetch."""

import threading

import pytest

from teleprefetch.edge.store.rows import frame_name
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.model import FrameEntry
from tests.edge.fakes_for_node import (
    ORIGIN,
    coded_image,
    content,
    image_set_id,
    metadata,
    order,
    plan,
    pointer,
)
from tests.edge.filling import fill, segment_of, served


def identified(series, ids, *, crc32s=None):
    """Metadata whose frames have image frame ids and checksums; `ids` by frame number."""
    base = metadata(series, len(ids))
    crc32s = crc32s or {}
    return base.model_copy(
        update={
            "frames": tuple(
                FrameEntry(
                    sop_instance_uid=f"{series.series_instance_uid}.{number}",
                    frame_number=1,
                    image_frame_id=image_set_id(ids[number]),
                    crc32=crc32s.get(number, coded_image(number)[1]),
                )
                for number in ids
            )
        }
    )


@pytest.fixture
def warm(warmer, origin, documents):
    def run(meta):
        origin.series = {meta.series: meta}
        return warmer.run(
            order(documents, plan(meta.series)),
            tell=lambda _report: None,
            stop=threading.Event(),
        ).report

    return run


def test_of_a_new_version_only_what_changed_is_fetched(warm, origin, store):
    warm(identified(pointer(version=1), {1: 1, 2: 2, 3: 3}))
    origin.frame_calls.clear()
    report = warm(identified(pointer(version=2), {1: 1, 2: 2, 3: 3, 4: 4}))
    assert (report.state, report.frames_verified, report.frames_fetched) == ("warm", 4, 1)
    assert [*origin.frame_calls] == [("1.2.1.1.4", 1)]
    assert served(store, pointer(version=2), 2) == content(2)
    assert store.counters.snapshot()["carried_over_frames"] == 3
    assert [row.series.version_id for row in store.rows()] == [2]
    assert list(store._files.superseded()) == []


@pytest.mark.parametrize("what", ["another id", "another checksum", "no id", "no checksum"])
def test_what_is_not_proven_the_same_is_fetched(warm, origin, store, what):
    warm(identified(pointer(version=1), {1: 1, 2: 2}))
    newer = identified(pointer(version=2), {1: 1, 2: 2})
    first, second = newer.frames
    update = {
        "another id": {"image_frame_id": image_set_id(99)},
        "another checksum": {"crc32": 7},
        "no id": {"image_frame_id": None},
        "no checksum": {"crc32": None},
    }[what]
    origin.frame_calls.clear()
    origin.series.clear()
    warm(newer.model_copy(update={"frames": (first, second.model_copy(update=update))}))
    assert {*origin.frame_calls} == {("1.2.1.1.2", 1)}


def test_a_purge_below_the_next_version_serves_nothing_and_lets_the_next_take_over(
    warm, origin, store
):
    warm(identified(pointer(version=1), {1: 1, 2: 2}))
    (packed,) = store._files._metadata.iterdir()
    purged = store.purge(ORIGIN, pointer().image_set_id, below_version=2)
    assert (purged.versions, purged.frames, purged.found_after) == (1, 2, 0)
    assert store.rows() == []
    assert served(store, pointer(), 1) is None
    assert not packed.exists()
    origin.frame_calls.clear()
    report = warm(identified(pointer(version=2), {1: 1, 2: 2}))
    assert (report.frames_verified, report.frames_fetched) == (2, 0)
    assert not origin.frame_calls


def test_a_deletion_leaves_nothing_for_anybody_to_take_over(warm, store, store_path):
    warm(identified(pointer(version=1), {1: 1, 2: 2}))
    store.purge(ORIGIN, pointer().image_set_id, below_version=2)
    assert len(list(store._files.superseded())) == 1
    store.purge(ORIGIN, pointer().image_set_id)
    assert list(store._files.superseded()) == []
    for path in store_path.rglob("*"):
        assert not path.is_file() or b"Doe^Jane" not in path.read_bytes()
        assert not path.is_file() or content(1)[40:] not in path.read_bytes()


def test_no_name_of_a_purged_patient_is_left_anywhere(open_store, store_path):
    store = open_store()
    fill(store, pointer(), 3)
    found = [path for path in store_path.rglob("*") if path.is_file()]
    assert any(b"Doe^Jane" in path.read_bytes() for path in found)
    store.purge(ORIGIN, pointer().image_set_id)
    for path in store_path.rglob("*"):
        assert not path.is_file() or b"Doe^Jane" not in path.read_bytes()


def test_a_damaged_frame_is_not_taken_over(warm, origin, store):
    warm(identified(pointer(version=1), {1: 1, 2: 2}))
    held = store.frames(ORIGIN, pointer(version=1))[("1.2.1.1.2", 1)]
    with segment_of(store, pointer(version=1)).open("r+b") as file:
        file.seek(held.offset + 30)
        file.write(b"\xff\xff\xff")
    origin.frame_calls.clear()
    report = warm(identified(pointer(version=2), {1: 1, 2: 2}))
    assert (report.frames_verified, report.frames_fetched) == (2, 1)
    assert served(store, pointer(version=2), 2) == content(2)


def test_what_nobody_took_over_is_removed_at_the_next_start_after_an_hour(open_store):
    import os

    store = open_store()
    fill(store, pointer(), 2)
    store.purge(ORIGIN, pointer().image_set_id, below_version=2)
    (path,) = store._files.superseded()
    store.close()
    second = open_store()
    assert path.exists()
    second.close()
    os.utime(path, (1, 1))
    open_store()
    assert not path.exists()


def test_a_late_create_does_not_resurrect(store):
    fill(store, pointer(version=2), 1)
    store.purge(ORIGIN, pointer().image_set_id)
    for version in (1, 2, 3):
        with pytest.raises(StudyNotFoundError):
            store.put_metadata(ORIGIN, metadata(pointer(version=version), 1))


COUNTED = pointer(image_set="")


def of_count(count):
    return COUNTED.model_copy(update={"version_id": count})


def test_without_versions_the_latest_answer_wins_though_it_has_fewer_instances(store):
    store.put_metadata(ORIGIN, metadata(of_count(5), 5), asked_at_s=1.0)
    store.put_metadata(ORIGIN, metadata(of_count(3), 3), asked_at_s=2.0)
    assert [row.series.version_id for row in store.rows()] == [3]
    assert len(store.metadata(ORIGIN, of_count(3)).frames) == 3


def test_without_versions_an_answer_that_was_asked_for_earlier_does_not_win(store):
    store.put_metadata(ORIGIN, metadata(of_count(3), 3), asked_at_s=2.0)
    with pytest.raises(StudyNotFoundError):
        store.put_metadata(ORIGIN, metadata(of_count(5), 5), asked_at_s=1.0)
    assert [row.series.version_id for row in store.rows()] == [3]


def test_the_same_answer_again_keeps_the_frames(store):
    series = of_count(3)
    names = fill(store, series, 3)
    path = segment_of(store, series)
    store.put_metadata(ORIGIN, metadata(series, 3))
    assert segment_of(store, series) == path
    assert store.verify(ORIGIN, series) == names


def test_another_answer_for_the_same_count_replaces_what_was_held(store):
    series = of_count(3)
    fill(store, series, 3)
    store.put_metadata(ORIGIN, metadata(series, 3, patient_id="another"))
    assert store.frames(ORIGIN, series) == {}
    assert b"another" in store.metadata(ORIGIN, series).dicom_json
    assert len(list(store._segments.iterdir())) == 1


def test_frames_without_versions_are_never_taken_over(store):
    fill(store, of_count(2), 2)
    fill(store, of_count(3), 1)
    assert len(store.frames(ORIGIN, of_count(3))) == 1
    assert frame_name(metadata(of_count(3), 1).frames[0]) in store.frames(ORIGIN, of_count(3))
