"""Reading through: once however many ask, ahead of warming, stored; errors are never kept."""

import gzip
import sqlite3
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from teleprefetch.edge.archives.fetching import FetchPool, Urgency
from teleprefetch.edge.archives.reading import READER_RETRIES, ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    NodeUnavailableError,
    OriginThrottledError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import PatientKey, SeriesRecord, StudyRecord
from tests.edge.fakes_for_node import ORIGIN, content, eventually, metadata, order, plan, pointer
from tests.edge.filling import fill, read, served

STUDY, SERIES = "1.2.1", "1.2.1.1"


def sop(number):
    return f"{SERIES}.{number}"


@pytest.fixture
def searches(origin):
    """Lets the fake archive be searched; the searches that were made."""
    made = []

    def search(study_instance_uid):
        made.append(study_instance_uid)
        origin.before_search(study_instance_uid)
        found = [one for one in origin.series if one.study_instance_uid == study_instance_uid]
        if not found:
            raise StudyNotFoundError("study: not here")
        return StudyRecord(
            study_instance_uid=study_instance_uid,
            patient=PatientKey(patient_id="P1"),
            series=tuple(SeriesRecord(pointer=one) for one in found),
        )

    origin.before_search = lambda _study: None
    origin.search_for_study = search
    return made


@pytest.fixture
def open_reading(origin, searches):
    pools = []

    def open_one(store, *, threads=4, verify_pixels=True, **options):
        pool = FetchPool(threads, at_thread_end=store.close_thread)
        pools.append(pool)
        return ReadThrough(
            store,
            pool=pool,
            retriever=Retriever(store, verify_pixels=verify_pixels),
            origins={ORIGIN: origin},
            **options,
        )

    yield open_one
    for pool in pools:
        pool.close()


@pytest.fixture
def reading(open_reading, store):
    return open_reading(store)


def contents(frames):
    return [read(frame) for frame in frames]


def test_what_is_not_held_is_fetched_once_and_held_from_then_on(reading, origin, searches, store):
    origin.hold(pointer(), 3)
    assert contents(reading.frames(STUDY, SERIES, sop(2), [1])) == [content(2)]
    assert served(store, pointer(), 2) == content(2)
    assert contents(reading.frames(STUDY, SERIES, sop(2), [1])) == [content(2)]
    assert origin.frame_calls == {(sop(2), 1): 1}
    assert origin.metadata_calls == {pointer(): 1}
    assert searches == [STUDY]
    assert store.counters.snapshot()["read_through_frames"] == 1


def test_metadata_and_a_study_are_read_through(reading, origin, store):
    origin.hold(pointer(series=1), 2)
    origin.hold(pointer(series=2), 3)
    packed = reading.metadata(STUDY, SERIES)
    assert gzip.decompress(packed) == metadata(pointer(), 2).dicom_json
    reading.study(STUDY)
    assert {row.series for row in store.of_study(STUDY)} == {pointer(series=1), pointer(series=2)}
    assert max(origin.metadata_calls.values()) == 1


def test_200_readers_of_one_cold_study_ask_the_archive_once(reading, origin, searches):
    """Scenario 17."""
    origin.hold(pointer(), 3)
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    with ThreadPoolExecutor(200) as readers:
        asked = [
            readers.submit(reading.frames, STUDY, SERIES, sop(1 + number % 3), [1])
            for number in range(200)
        ]
        eventually(lambda: len(origin.frame_calls) == 3)
        gate.set()
        answers = [contents(one.result(20)) for one in asked]
    assert answers == [[content(1 + number % 3)] for number in range(200)]
    assert {*origin.frame_calls.values()} == {1}
    assert {*origin.metadata_calls.values()} == {1}
    assert searches == [STUDY]


def test_a_reader_joins_the_warming_that_is_under_way(
    open_warmer, store, origin, documents, searches
):
    series, gate = origin.hold(pointer(), 2), threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    warmer = open_warmer(store)
    reading = ReadThrough(
        store,
        pool=warmer._needs.pool,
        retriever=warmer._needs.retriever,
        origins={ORIGIN: origin},
    )
    with ThreadPoolExecutor(2) as threads:
        warmed = threads.submit(
            warmer.run,
            order(documents, plan(series)),
            tell=lambda _report: None,
            stop=threading.Event(),
        )
        eventually(lambda: len(origin.frame_calls) == 2)
        read_ = threads.submit(reading.frames, STUDY, SERIES, sop(1), [1])
        gate.set()
        assert contents(read_.result(10)) == [content(1)]
        assert warmed.result(10).report.state == "warm"
    assert {*origin.frame_calls.values()} == {1}


def test_a_reader_who_joined_warming_that_goes_on_in_vain_asks_for_itself(
    open_reading, store, origin, monkeypatch
):
    monkeypatch.setattr("teleprefetch.edge.archives.reading._JOINED_AT_MOST_S", 0.05)
    series = origin.hold(pointer(), 2)
    store.put_metadata(ORIGIN, metadata(series, 2))
    reading = open_reading(store, wait_s=5)
    stuck, let_go = threading.Event(), threading.Event()

    def in_vain():
        stuck.set()
        let_go.wait(30)

    key = ("frame", store.rows()[0].key, sop(1), 1)
    reading._pool.submit(key, in_vain, urgency=Urgency.ROUTINE)
    try:
        assert stuck.wait(10)
        assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]
    finally:
        let_go.set()


def test_a_leader_that_dies_strands_nobody(reading, origin):
    """Scenario 17: the first fetch ends by an error; who asks afterwards gets the frame."""
    origin.hold(pointer(), 1)
    reading.metadata(STUDY, SERIES)
    gate, errors = threading.Event(), [SystemExit("the leader dies")]

    def die(_entry):
        gate.wait(10)
        if errors:
            raise errors.pop()

    origin.before_frame = die
    with ThreadPoolExecutor(10) as readers:
        asked = [readers.submit(reading.frames, STUDY, SERIES, sop(1), [1]) for _ in range(10)]
        eventually(lambda: origin.frame_calls)
        gate.set()
        failed = [one for one in asked if one.exception(10) is not None]
    assert len(failed) >= 1
    assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]


@pytest.mark.parametrize(
    "error", [OriginUnavailableError, OriginThrottledError, AccessDeniedError, CorruptPayloadError]
)
@pytest.mark.parametrize("where", ["search", "metadata", "frame"])
def test_an_archive_that_fails_gives_its_error_and_no_error_is_kept(
    reading, origin, store, error, where
):
    origin.hold(pointer(), 2)
    failing = [True]

    def fail(_what):
        if failing:
            raise error("1.2.3")

    setattr(origin, f"before_{where}", fail)
    with pytest.raises(error):
        reading.frames(STUDY, SERIES, sop(1), [1])
    assert store.verify(ORIGIN, pointer()) == set()
    assert store.counters.snapshot()["throttled_reads"] == (error is OriginThrottledError)
    failing.clear()
    assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]


def test_that_something_is_not_there_is_not_remembered(reading, origin):
    for attempt in (
        lambda: reading.frames(STUDY, SERIES, sop(1), [1]),
        lambda: reading.metadata(STUDY, SERIES),
        lambda: reading.study(STUDY),
    ):
        with pytest.raises(StudyNotFoundError):
            attempt()
    origin.hold(pointer(), 1)
    with pytest.raises(StudyNotFoundError):
        reading.frames(STUDY, SERIES, sop(9), [1])
    with pytest.raises(StudyNotFoundError):
        reading.frames(STUDY, SERIES, sop(1), [1, 2])
    assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]


def test_a_flipped_bit_is_fetched_once_more_and_never_stored(reading, origin, store):
    """Scenario 5."""
    origin.hold(pointer(), 2)
    damaged = bytearray(content(2))
    damaged[-20] ^= 4
    left = [bytes(damaged)]
    origin.before_frame = lambda _entry: left.pop() if left else None
    assert contents(reading.frames(STUDY, SERIES, sop(2), [1])) == [content(2)]
    assert origin.frame_calls[sop(2), 1] == 2
    assert store.counters.snapshot()["refetches"] == 1
    origin.before_frame = lambda _entry: bytes(damaged)
    with pytest.raises(CorruptPayloadError):
        reading.frames(STUDY, SERIES, sop(1), [1])
    assert not store.has(ORIGIN, pointer(), (sop(1), 1))


def test_a_rotten_frame_is_counted_and_read_through(reading, origin, store):
    """Scenario 6."""
    series = origin.hold(pointer(), 2)
    fill(store, series, 2)
    held = store.frames(ORIGIN, series)[(sop(2), 1)]
    with (store._segments / store.rows()[0].segment).open("r+b") as file:
        file.seek(held.offset + 20)
        file.write(b"\0\1\2")
    assert served(store, series, 2) is None
    assert contents(reading.frames(STUDY, SERIES, sop(2), [1])) == [content(2)]
    assert origin.frame_calls == {(sop(2), 1): 1}
    counts = store.counters.snapshot()
    assert (counts["integrity_failures"], counts["read_through_frames"]) == (1, 1)
    assert served(store, series, 2) == content(2)


def test_an_archive_that_keeps_failing_is_asked_no_more_for_a_while(open_reading, store, origin):
    now = [0.0]
    reading = open_reading(store, monotonic_s=lambda: now[0])
    origin.hold(pointer(), 30)
    reading.metadata(STUDY, SERIES)
    assert reading.retry_after_s() == 1

    def down(_entry):
        raise OriginThrottledError("slow down")

    origin.before_frame = down
    for number in range(1, 20):
        with pytest.raises(OriginThrottledError):
            reading.frames(STUDY, SERIES, sop(number), [1])
    assert sum(origin.frame_calls.values()) == 5
    assert 1 <= reading.retry_after_s(ORIGIN) <= 30
    assert store.counters.snapshot()["breaker_openings"] == 1
    now[0] += 60
    origin.before_frame = lambda _entry: None
    assert contents(reading.frames(STUDY, SERIES, sop(25), [1])) == [content(25)]


def test_an_archive_that_does_not_answer_in_time_is_said_to_be_away(open_reading, store, origin):
    reading, gate = open_reading(store, wait_s=0.1), threading.Event()
    origin.hold(pointer(), 1)
    origin.before_metadata = lambda _series: gate.wait(10)
    with pytest.raises(OriginUnavailableError, match="in time"):
        reading.metadata(STUDY, SERIES)
    gate.set()


def test_a_reader_waits_for_seconds_at_most_between_tries():
    assert READER_RETRIES.give_up_after_s <= 3


@pytest.mark.parametrize("how", ["full", "locked"])
def test_what_the_store_cannot_take_is_answered_from_memory(
    open_store, open_reading, origin, store_path, how
):
    """Scenarios 8 and 9: a reader gets the frame, whatever ails the store."""
    limit = (2 << 20) if how == "full" else 1 << 28
    store = open_store(limit_bytes=limit, patience_s=0.1)
    reading = open_reading(store, verify_pixels=False)
    big = content(1) + bytes(2 << 20)
    origin.hold(pointer(), 3, with_checksums=False)
    origin.before_frame = lambda _entry: big
    lock = sqlite3.connect(store_path / "index" / "cache.db", isolation_level=None)
    with closing(lock):
        if how == "locked":
            lock.execute("BEGIN EXCLUSIVE")
        (frame,) = reading.frames(STUDY, SERIES, sop(1), [1])
        assert frame.content == big
        assert frame.length_bytes == len(big)
        assert gzip.decompress(reading.metadata(STUDY, SERIES))
        began = time.monotonic()
        assert contents(reading.frames(STUDY, SERIES, sop(2), [1])) == [big]
        assert time.monotonic() - began < 0.09  # not even tried
        with pytest.raises(NodeUnavailableError) if how == "locked" else no_error():
            reading.study(STUDY)
    assert store.counters.snapshot()["passed_through_frames"] == 2


def no_error():
    import contextlib

    return contextlib.nullcontext()


def test_what_was_purged_is_searched_anew_and_read_by_its_new_version(
    open_reading, origin, searches, store
):
    now = [0.0]
    reading = open_reading(store, monotonic_s=lambda: now[0])
    old = metadata(origin.hold(pointer(version=1), 2), 2)
    reading.study(STUDY)
    now[0] += 2
    store.purge(ORIGIN, pointer().image_set_id, below_version=2)
    del origin.series[old.series]
    origin.hold(pointer(version=2), 2)
    assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]
    assert [row.series.version_id for row in store.rows()] == [2]
    assert len(searches) == 2
    now[0] += 2
    store.purge(ORIGIN, pointer().image_set_id)
    with pytest.raises(StudyNotFoundError):
        reading.frames(STUDY, SERIES, sop(1), [1])


def test_an_archive_that_cannot_be_asked_is_not_taken_for_one_that_has_nothing(
    store, origin, searches
):
    class Down:
        def search_for_study(self, _study):
            raise OriginUnavailableError("down")

    pool = FetchPool(2, at_thread_end=store.close_thread)
    both = ReadThrough(
        store,
        pool=pool,
        retriever=Retriever(store, verify_pixels=True),
        origins={"another": Down(), ORIGIN: origin},
    )
    with pytest.raises(OriginUnavailableError):
        both.study(STUDY)
    origin.hold(pointer(), 1)
    both.study(STUDY)
    assert len(store.rows()) == 1
    pool.close()


def test_a_stopping_node_says_so(reading, origin):
    origin.hold(pointer(), 1)
    reading._pool.close()
    with pytest.raises(OriginUnavailableError, match="stopping"):
        reading.study(STUDY)


def test_a_reader_never_waits_for_warming_to_end(open_reading, store, origin):
    """All warming threads are busy for long: a reader is answered at once."""
    reading, gate = open_reading(store, threads=4, wait_s=5), threading.Event()
    origin.hold(pointer(), 1)
    for number in range(50):
        reading._pool.submit(("warming", number), lambda: gate.wait(30), urgency=Urgency.STAT)
    try:
        assert contents(reading.frames(STUDY, SERIES, sop(1), [1])) == [content(1)]
    finally:
        gate.set()


@pytest.fixture
def pool():
    pool = FetchPool(8, at_thread_end=lambda: None)
    yield pool
    pool.close()


def test_warming_stands_back_while_readers_fetch(pool):
    running, most, lock = [0], [0], threading.Lock()
    gate, reading = threading.Event(), threading.Event()

    def warm():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.001)
        with lock:
            running[0] -= 1

    def read_slowly():
        reading.set()
        gate.wait(10)

    reader = pool.submit("reader", read_slowly, urgency=Urgency.READER)
    assert reading.wait(10)
    tickets = [pool.submit(number, warm, urgency=Urgency.STAT) for number in range(100)]
    for ticket in tickets:
        ticket.future.result(10)
    beside_a_reader = most[0]
    gate.set()
    reader.future.result(10)
    assert beside_a_reader <= 2
    more = [pool.submit(("more", number), warm, urgency=Urgency.STAT) for number in range(200)]
    for ticket in more:
        ticket.future.result(10)
    assert most[0] > 2


def test_a_miss_during_a_warm_at_full_speed_costs_a_reader_little_more_than_one_in_quiet(
    open_store, origin, documents, open_warmer, searches
):
    store = open_store(limit_bytes=1 << 30)
    frame = content(1) + bytes(200_000)

    def slow(_entry):
        time.sleep(0.005)
        return frame

    warmer = open_warmer(store, threads=8)
    reading = ReadThrough(
        store, pool=warmer._needs.pool, retriever=warmer._needs.retriever, origins={ORIGIN: origin}
    )
    wanted = [origin.hold(pointer(study), 30, with_checksums=False) for study in (1, 2)]
    big = origin.hold(pointer(3), 3000, with_checksums=False)
    origin.before_frame = slow

    def p95_s(series):
        took = []
        for number in range(1, 31):
            began = time.perf_counter()
            uid = series.series_instance_uid
            reading.frames(series.study_instance_uid, uid, f"{uid}.{number}", [1])
            took.append(time.perf_counter() - began)
        return statistics.quantiles(took, n=20)[18]

    quiet_s = p95_s(wanted[0])
    stop = threading.Event()
    warming = threading.Thread(
        target=warmer.run,
        args=(order(documents, plan(big), priority="stat"),),
        kwargs={"tell": lambda _report: None, "stop": stop},
    )
    warming.start()
    eventually(lambda: sum(origin.frame_calls.values()) > 100)
    busy_s = p95_s(wanted[1])
    assert warming.is_alive()
    stop.set()
    warming.join(20)
    print(f"p95 of a miss: {1000 * quiet_s:.1f} ms in quiet, {1000 * busy_s:.1f} ms in a warm")
    assert busy_s < quiet_s + 0.15
