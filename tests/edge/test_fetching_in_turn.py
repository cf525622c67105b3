"""The pool behind a gate: quotas, pauses of a throttling archive, and readers past both."""

import math
import threading

import pytest

from teleprefetch.domain.scheduling import Band, Lane, Operation, Turn, Urgency
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.errors import OriginThrottledError, OriginUnavailableError, StudyNotFoundError
from tests.edge.fakes_for_node import eventually

FRAMES = Lane("store", Operation.FRAME)


class FakeGate:
    """Tokens to give out by hand."""

    def __init__(self, tokens=0):
        self.tokens = tokens
        self.begun_lanes = []
        self.throttled_lanes = []

    def wait_s(self, lane):
        return 0.0 if self.tokens > 0 else math.inf

    def begun(self, lane):
        self.tokens -= 1
        self.begun_lanes.append(lane)

    def throttled(self, lane):
        self.throttled_lanes.append(lane)


@pytest.fixture
def open_pool():
    pools = []

    def open_one(threads=2, **options):
        pools.append(FetchPool(threads, at_thread_end=lambda: None, **options))
        return pools[-1]

    yield open_one
    for pool in pools:
        pool.close()


def turn(urgency=Urgency.HIGH, **options):
    return Turn(urgency=urgency, lane=FRAMES, **options)


class Throttled:
    """Answers after so many 429s; counts the attempts."""

    def __init__(self, times, error=None):
        self.left = times
        self.attempts = 0
        self.error = error or OriginThrottledError("slow down")

    def __call__(self):
        self.attempts += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def test_warming_begins_only_what_the_gate_lets_through(open_pool):
    gate = FakeGate(tokens=3)
    pool, done = open_pool(gate=gate), []
    tickets = [
        pool.submit(n, lambda n=n: done.append(n), urgency=Urgency.HIGH, turn=turn(position=n))
        for n in range(5)
    ]
    eventually(lambda: len(done) == 3)
    assert gate.begun_lanes == [FRAMES] * 3
    assert pool.queued() == {FRAMES: 2}
    gate.tokens = 2
    pool.wake()
    for ticket in tickets:
        ticket.future.result(10)
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_a_reader_passes_a_shut_gate_also_with_what_warming_has_queued(open_pool):
    pool = open_pool(gate=FakeGate())
    queued = pool.submit("frame", lambda: 7, urgency=Urgency.ROUTINE, turn=turn(Urgency.ROUTINE))
    reader = pool.submit("frame", lambda: 8, urgency=Urgency.READER)
    assert (reader.future.result(10), queued.future.result(10)) == (7, 7)


def test_a_throttled_fetch_is_tried_again_with_a_new_token_and_told_to_the_gate(open_pool):
    gate, work = FakeGate(tokens=100), Throttled(3)
    pool = open_pool(gate=gate, patience_s=60, draw=lambda: 0.01)
    ticket = pool.submit("frame", work, urgency=Urgency.HIGH, turn=turn())
    assert ticket.future.result(10) == "answer"
    assert work.attempts == 4
    assert gate.tokens == 96
    assert gate.throttled_lanes == [FRAMES] * 3


def test_while_an_archive_throttles_threads_do_other_work(open_pool):
    pool = open_pool(threads=1, patience_s=600, draw=lambda: 1.0)
    throttled = Throttled(10**6)
    pool.submit("stuck", throttled, urgency=Urgency.STAT, turn=turn(Urgency.STAT))
    eventually(lambda: throttled.attempts >= 1)
    other = pool.submit("other", lambda: 7, urgency=Urgency.ROUTINE, turn=turn(Urgency.ROUTINE))
    assert other.future.result(10) == 7


def test_patience_ends(open_pool):
    now = [0.0]
    pool = open_pool(patience_s=5, monotonic_s=lambda: now[0], draw=lambda: 0.0)
    work = Throttled(10**6)

    def fail():
        now[0] += 2
        return work()

    ticket = pool.submit("frame", fail, urgency=Urgency.HIGH, turn=turn())
    with pytest.raises(OriginThrottledError):
        ticket.future.result(10)
    assert work.attempts == 3


@pytest.mark.parametrize("error", [OriginUnavailableError("down"), StudyNotFoundError("no")])
def test_what_passes_is_tried_again_and_nothing_else(open_pool, error):
    work = Throttled(1, error)
    pool = open_pool(patience_s=60, draw=lambda: 0.01)
    ticket = pool.submit("frame", work, urgency=Urgency.HIGH, turn=turn())
    if isinstance(error, OriginUnavailableError):
        assert ticket.future.result(10) == "answer"
    else:
        with pytest.raises(StudyNotFoundError):
            ticket.future.result(10)
        assert work.attempts == 1


def test_a_reader_who_joins_a_paused_fetch_has_it_tried_at_once(open_pool):
    pool, work = open_pool(patience_s=600, draw=lambda: 1.0), Throttled(6)
    warming = pool.submit("frame", work, urgency=Urgency.HIGH, turn=turn())
    eventually(lambda: work.attempts >= 4)
    work.left = 0
    reader = pool.submit("frame", work, urgency=Urgency.READER)
    assert reader.future.result(10) == "answer"
    assert warming.future.result(10) == "answer"


def test_closing_gives_up_what_is_paused(open_pool):
    pool, work = open_pool(patience_s=600, draw=lambda: 1.0), Throttled(10**6)
    ticket = pool.submit("frame", work, urgency=Urgency.HIGH, turn=turn())
    eventually(lambda: work.attempts >= 2)
    pool.close()
    assert ticket.future.cancelled()


def test_what_is_given_up_while_it_is_paused_is_not_tried_again(open_pool):
    pool, work = open_pool(patience_s=600, draw=lambda: 0.2), Throttled(10**6)
    ticket = pool.submit("frame", work, urgency=Urgency.HIGH, turn=turn())
    eventually(lambda: work.attempts >= 2)
    ticket.future.cancel()
    eventually(lambda: not pool._by_key)


def test_a_more_urgent_order_for_the_same_frames_moves_them_forward(open_pool):
    pool, done, gate = open_pool(threads=1), [], threading.Event()
    pool.submit("busy", lambda: gate.wait(10), urgency=Urgency.STAT, turn=turn(Urgency.STAT))

    def submit(name, urgency, position):
        at = turn(urgency, position=position, band=Band.CURRENT, patient=name[0])
        return pool.submit(name, lambda: done.append(name), urgency=urgency, turn=at)

    tickets = [submit(f"a{n}", Urgency.ROUTINE, n) for n in range(3)]
    tickets += [submit(f"b{n}", Urgency.ROUTINE, n) for n in range(3)]
    tickets += [submit(f"b{n}", Urgency.HIGH, n) for n in range(3)]
    gate.set()
    for ticket in tickets:
        ticket.future.result(10)
    assert done[:3] == ["b0", "b1", "b2"]
    assert sorted(done) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_a_limit_that_moves_is_kept(open_pool):
    limit, gate = [1], threading.Event()
    pool, running = open_pool(threads=4, limit=lambda: limit[0]), []

    def work():
        running.append(1)
        gate.wait(10)

    tickets = [pool.submit(n, work, urgency=Urgency.HIGH, turn=turn()) for n in range(4)]
    eventually(lambda: running)
    assert len(running) == 1
    limit[0] = 3
    pool.wake()
    eventually(lambda: len(running) == 3)
    gate.set()
    for ticket in tickets:
        ticket.future.result(10)
