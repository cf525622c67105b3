"""What goes when room is short: the least useful, never what is waited for or in use."""

import os
import threading
from contextlib import suppress

import pytest

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.rows import PlannedUse, frame_name
from teleprefetch.edge.store.usefulness import Wanted, is_pinned, usefulness
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, entry, metadata, plan, pointer
from tests.edge.filling import fill, read

MB = 1 << 20
DAY_S = 86_400.0


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock_s():
    return Clock()


@pytest.fixture
def store(open_store, clock_s):
    store = open_store(limit_bytes=8 * MB, clock_s=clock_s)
    store._files.marks._clock_s = clock_s
    return store


def held(store):
    return {row.series.study_instance_uid for row in store.rows()}


def bytes_on_disk(path):
    return sum(one.stat().st_blocks * 512 for one in path.rglob("*") if one.is_file())


def a_read(store, series):
    (row,) = store.of_study(series.study_instance_uid)
    return store.frame(row, frame_name(entry(series, 1)))


def test_the_limit_is_one_whatever_is_stored(open_store, store_path):
    store = open_store(limit_bytes=8 * MB)
    for study in range(1, 30):
        fill(store, pointer(study), 3, size=MB // 4)
        assert store.used_bytes() <= 8 * MB
        assert bytes_on_disk(store_path) <= 8 * MB * 1.05
    assert len(held(store)) >= 5
    counts = store.counters.snapshot()
    assert counts["evictions"] == 29 - len(held(store))
    assert counts["evicted_bytes"] > 15 * MB


def test_what_was_read_last_outlasts_what_was_stored_last(store, clock_s):
    for study in range(1, 6):
        fill(store, pointer(study), 1, size=MB)
        clock_s.now += 3600
    a_read(store, pointer(1))
    clock_s.now += 3600
    for study in range(6, 9):
        fill(store, pointer(study), 1, size=MB)
    assert "1.2.1" in held(store)
    assert "1.2.2" not in held(store)


def test_a_current_study_outlasts_its_priors_and_those_go_by_rank(store, clock_s):
    series = [pointer(study) for study in range(1, 6)]
    store.want(plan(*series), until_s=clock_s.now + 60)
    for one in series:
        fill(store, one, 1, size=MB)
    clock_s.now += 3600
    gone = []
    for study in range(11, 16):
        before = held(store)
        fill(store, pointer(study), 1, size=MB)
        store.want(plan(pointer(study), prefetch_id=f"p{study}"), until_s=clock_s.now + DAY_S)
        gone += sorted(before - held(store))
    assert gone[:3] == ["1.2.5", "1.2.4", "1.2.3"]
    assert "1.2.1" in held(store)


def test_what_an_order_waits_for_stays_until_its_deadline(store, clock_s):
    wanted = [pointer(study) for study in range(1, 6)]
    store.want(plan(*wanted), until_s=clock_s.now + 600)
    for one in wanted:
        fill(store, one, 1, size=MB)
    clock_s.now += 599
    with pytest.raises(NodeUnavailableError, match="store is full"):
        fill(store, pointer(9), 5, size=MB)
    assert {f"1.2.{study}" for study in range(1, 6)} <= held(store)
    clock_s.now += 2
    fill(store, pointer(10), 3, size=MB)
    assert "1.2.10" in held(store)


def test_what_was_read_need_not_wait_for_the_deadline(store, clock_s):
    wanted = [pointer(study) for study in range(1, 6)]
    store.want(plan(*wanted), until_s=clock_s.now + 600)
    for one in wanted:
        fill(store, one, 1, size=MB)
    clock_s.now += 10
    for one in wanted[1:]:
        assert a_read(store, one)
    fill(store, pointer(9), 3, size=MB)
    assert {"1.2.1", "1.2.9"} <= held(store)
    assert "1.2.5" not in held(store)


def test_pins_and_plans_hold_in_every_process_and_after_a_restart(open_store, clock_s):
    first = open_store(limit_bytes=8 * MB, clock_s=clock_s)
    first.want(plan(pointer(1), pointer(2)), until_s=clock_s.now + 600)
    fill(first, pointer(1), 1, size=MB)
    other = open_store(limit_bytes=8 * MB, clock_s=clock_s)
    for study in range(3, 12):
        fill(other, pointer(study), 1, size=MB)
    assert "1.2.1" in held(other) == held(first)
    first.close()
    other.close()
    again = open_store(limit_bytes=8 * MB, clock_s=clock_s)
    for study in range(13, 22):
        fill(again, pointer(study), 1, size=MB)
    assert "1.2.1" in held(again)


def test_the_newest_plan_that_names_a_study_ranks_the_others(store, clock_s):
    assert store.ranks("1.2.1") == {}
    store.want(with_priors(1, 2, 3), until_s=0)
    clock_s.now += 1
    store.want(with_priors(4, 3, 2, prefetch_id="p2"), until_s=0)
    assert store.ranks("1.2.1") == {"1.2.1": 0, "1.2.2": 1, "1.2.3": 2}
    assert store.ranks("1.2.4") == store.ranks("1.2.2") == store.ranks("1.2.1", "1.2.3")
    assert store.ranks("1.2.4") == {"1.2.4": 0, "1.2.3": 1, "1.2.2": 2}
    assert store.ranks("1.2.77") == {}


def test_plans_are_forgotten_beyond_a_thousand(store, monkeypatch):
    monkeypatch.setattr("teleprefetch.edge.store.store._PLANS_KEPT", 3)
    for number in range(1, 6):
        store.want(with_priors(number, 50 + number, prefetch_id=f"p{number}"), until_s=0)
    assert store.ranks("1.2.1", "1.2.2") == {}
    assert [bool(store.ranks(f"1.2.{number}")) for number in (3, 4, 5)] == [True] * 3


def test_a_purged_studys_rank_is_forgotten_with_its_last_series(store, clock_s):
    store.want(with_priors(1, 2), until_s=0)
    fill(store, pointer(2), 1)
    store.purge(ORIGIN, pointer(2).image_set_id)
    assert store.ranks("1.2.1") == {"1.2.1": 0}


def with_priors(current, *priors, prefetch_id="p1"):
    made = plan(*(pointer(study) for study in (current, *priors)), prefetch_id=prefetch_id)
    ranked = tuple(
        {
            "study_instance_uid": f"1.2.{study}",
            "rank": rank,
            "score": 1.0,
            "reasons": (),
            "taken": True,
        }
        for rank, study in enumerate(priors, 1)
    )
    return type(made).parse(made.model_dump() | {"priors": ranked})


def test_a_frame_that_is_streamed_while_its_series_is_evicted_is_whole(store):
    """Scenario 20."""
    frames = {}

    def keep(number):
        frames[number] = os.urandom(MB)
        return frames[number]

    series = pointer(1)
    fill(store, series, 2, bytes_of=keep)
    (row,) = store.of_study("1.2.1")
    found = store.frame(row, frame_name(entry(series, 2)))
    with found.path.open("rb") as file:
        file.seek(found.offset)
        first = file.read(1000)
        for study in range(2, 12):
            fill(store, pointer(study), 1, size=MB)
        assert "1.2.1" not in held(store)
        assert not found.path.exists()
        assert first + file.read(found.length_bytes - 1000) == frames[2]
    assert store.frame(row, frame_name(entry(series, 2))) is None


class Looker(threading.Thread):
    """Reads whatever is held, again and again, and compares it."""

    def __init__(self, store, contents, stop):
        super().__init__()
        self.store, self.contents, self.stop = store, contents, stop
        self.right, self.wrong = set(), set()

    def run(self):
        while not self.stop.is_set():
            for row in self.store.rows():
                with suppress(FileNotFoundError):
                    self.look_at(row)
        self.store.close_thread()

    def look_at(self, row):
        study = int(row.series.study_instance_uid.rsplit(".", 1)[1])
        found = self.store.frame(row, frame_name(entry(row.series, 1)))
        if found is not None:
            is_right = read(found) == self.contents[study]
            (self.right if is_right else self.wrong).add(study)


def test_readers_during_a_churn_of_evictions_get_the_right_bytes_or_none(open_store):
    """Scenario 20, with many at once."""
    store, stop = open_store(limit_bytes=6 * MB), threading.Event()
    contents = {study: bytes([study]) * (MB // 4) for study in range(1, 30)}
    lookers = [Looker(store, contents, stop) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for study in contents:
        fill(store, pointer(study), 2, bytes_of=lambda _number, study=study: contents[study])
    stop.set()
    for looker in lookers:
        looker.join()
    assert all(looker.wrong == set() for looker in lookers)
    assert len(set().union(*(looker.right for looker in lookers))) > 3
    assert store.counters.snapshot()["integrity_failures"] == 0


def test_what_an_order_uses_is_not_evicted_though_nobody_writes_it(store):
    fill(store, pointer(1), 1, size=MB)
    with store.using(ORIGIN, pointer(1)):
        for study in range(2, 12):
            fill(store, pointer(study), 1, size=MB)
        assert "1.2.1" in held(store)
    for study in range(12, 22):
        fill(store, pointer(study), 1, size=MB)
    assert "1.2.1" not in held(store)


def test_what_is_being_written_is_not_evicted(store):
    series = pointer(1)
    store.put_metadata(ORIGIN, metadata(series, 3))
    with store.writing(ORIGIN, series) as writer:
        writer.append(
            entry(series, 1), Frame(content=bytes(MB), transfer_syntax_uid=HTJ2K_LOSSLESS)
        )
        for study in range(2, 12):
            fill(store, pointer(study), 1, size=MB)
        assert "1.2.1" in held(store)


CURRENT, PRIOR, THIRD = (
    PlannedUse(role="current", rank=0),
    PlannedUse(role="prior", rank=1),
    PlannedUse(role="prior", rank=3),
)


def worth(use, *, idle_h=0.0):
    wanted = None if use is None else Wanted(use=use, asked_at=0.0, until=0.0)
    return usefulness(wanted, last_read_s=None, stored_at_s=0.0, now_s=idle_h * 3600)


def test_worth_falls_with_rank_and_with_time():
    assert worth(CURRENT) > worth(PRIOR) >= worth(None) > worth(THIRD) > 0
    assert worth(CURRENT, idle_h=8) == pytest.approx(worth(CURRENT) / 2)
    assert worth(CURRENT, idle_h=24) < worth(PRIOR)
    assert worth(THIRD) > worth(CURRENT, idle_h=48)


@pytest.mark.parametrize(
    ("until", "read_s", "pinned"),
    [(10.0, None, True), (10.0, 0.5, True), (10.0, 2.0, False), (5.0, None, False)],
)
def test_a_pin_ends_with_the_deadline_or_the_first_read(until, read_s, pinned):
    wanted = Wanted(use=PRIOR, asked_at=1.0, until=until)
    assert is_pinned(wanted, last_read_s=read_s, now_s=5.0) is pinned
