"""What readers miss is asked for in their own names, where an archive is set so."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.errors import AccessDeniedError, StudyNotFoundError
from teleprefetch.model import PatientKey, SeriesRecord, StudyRecord
from tests.edge.fakes_for_node import ORIGIN, content, eventually, pointer
from tests.edge.filling import read

STUDY, SERIES, FIRST, SECOND = "1.2.1", "1.2.1.1", "1.2.1.1.1", "1.2.1.1.2"


class Theirs:
    """The archive as one reader meets it: it tells who asked, and refuses the stranger."""

    def __init__(self, origin, bearer, told):
        self._origin = origin
        self._bearer = bearer
        self._told = told

    def _ask(self, what, ask):
        self._told.append((what, self._bearer))
        if self._bearer == "stranger":
            raise StudyNotFoundError("study: the archive does not give it to this reader")
        return ask()

    def retrieve_series_metadata(self, series):
        return self._ask("metadata", lambda: self._origin.retrieve_series_metadata(series))

    def retrieve_frame(self, series, frame):
        return self._ask("frame", lambda: self._origin.retrieve_frame(series, frame))


@pytest.fixture
def told():
    return []


@pytest.fixture
def reading(store, origin, told):
    def search(study_instance_uid):
        told.append(("search", "the node"))
        return StudyRecord(
            study_instance_uid=study_instance_uid,
            patient=PatientKey(patient_id="P1"),
            series=tuple(SeriesRecord(pointer=one) for one in origin.series),
        )

    def as_reader(origin_id, bearer):
        assert origin_id == ORIGIN
        if not bearer:
            raise AccessDeniedError("bearer token: missing")
        return Theirs(origin, bearer, told)

    origin.search_for_study = search
    origin.hold(pointer(), 3)
    pool = FetchPool(4, at_thread_end=store.close_thread)
    yield ReadThrough(
        store,
        pool=pool,
        retriever=Retriever(store, verify_pixels=True),
        origins={ORIGIN: origin},
        as_reader=as_reader,
    )
    pool.close()


def test_metadata_and_frames_come_by_the_readers_token_and_are_held_for_all(reading, told):
    (frame,) = reading.frames(STUDY, SERIES, FIRST, [1], bearer="one")
    assert read(frame) == content(1)
    assert told == [("search", "the node"), ("metadata", "one"), ("frame", "one")]
    assert reading.frames(STUDY, SERIES, FIRST, [1], bearer="two") == [frame]
    assert len(told) == 3


def test_what_the_archive_refuses_one_reader_another_still_gets(reading, told, store):
    with pytest.raises(StudyNotFoundError):
        reading.frames(STUDY, SERIES, FIRST, [1], bearer="stranger")
    with pytest.raises(StudyNotFoundError):
        reading.metadata(STUDY, SERIES, bearer="stranger")
    with pytest.raises(StudyNotFoundError):
        reading.study(STUDY, bearer="stranger")
    assert store.rows() == []
    assert read(reading.frames(STUDY, SERIES, FIRST, [1], bearer="one")[0]) == content(1)


def test_readers_share_no_fetch_as_the_archive_is_to_decide_about_each(reading, origin, told):
    reading.metadata(STUDY, SERIES, bearer="one")
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    with ThreadPoolExecutor(3) as readers:
        asked = {
            bearer: readers.submit(reading.frames, STUDY, SERIES, SECOND, [1], bearer=bearer)
            for bearer in ("one", "two", "stranger")
        }
        eventually(lambda: {("frame", bearer) for bearer in asked} <= {*told})
        gate.set()
        assert [read(asked[bearer].result(10)[0]) for bearer in ("one", "two")] == [content(2)] * 2
        with pytest.raises(StudyNotFoundError):
            asked["stranger"].result(10)


def test_without_a_token_nothing_is_asked_in_the_nodes_name_instead(reading, told):
    with pytest.raises(AccessDeniedError):
        reading.frames(STUDY, SERIES, FIRST, [1])
    assert told == [("search", "the node")]
