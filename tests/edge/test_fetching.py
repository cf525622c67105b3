import threading

import pytest

from teleprefetch.edge.archives.fetching import FetchPool, Urgency
from teleprefetch.errors import OriginUnavailableError


@pytest.fixture
def open_pool():
    pools = []

    def open_one(threads):
        pools.append(FetchPool(threads, at_thread_end=lambda: None))
        return pools[-1]

    yield open_one
    for pool in pools:
        pool.close()


class Gate:
    """Work that says when it runs and waits until it is let go."""

    def __init__(self):
        self.runs = 0
        self.running = threading.Event()
        self.open = threading.Event()

    def __call__(self):
        self.runs += 1
        self.running.set()
        assert self.open.wait(10)
        return "answer"


def test_many_who_ask_for_the_same_share_one_fetch(open_pool):
    pool, gate = open_pool(4), Gate()
    first = pool.submit("frame", gate, urgency=Urgency.ROUTINE)
    tickets, lock = [], threading.Lock()

    def ask():
        ticket = pool.submit("frame", gate, urgency=Urgency.ROUTINE)
        with lock:
            tickets.append(ticket)

    askers = [threading.Thread(target=ask) for _ in range(50)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    gate.open.set()
    assert [ticket.future.result(10) for ticket in [first, *tickets]] == ["answer"] * 51
    assert gate.runs == 1
    assert not first.joined
    assert all(ticket.joined for ticket in tickets)


def test_what_was_answered_is_fetched_anew_when_asked_again(open_pool):
    pool, gate = open_pool(1), Gate()
    gate.open.set()
    for _ in range(2):
        pool.submit("frame", gate, urgency=Urgency.ROUTINE).future.result(10)
    assert gate.runs == 2


@pytest.mark.parametrize("error", [OriginUnavailableError("x"), SystemExit(1), KeyError("bug")])
def test_a_failing_leader_strands_no_follower_and_no_thread(open_pool, error):
    pool, gate = open_pool(1), Gate()

    def fail():
        gate()
        raise error

    tickets = [pool.submit("frame", fail, urgency=Urgency.ROUTINE) for _ in range(3)]
    gate.open.set()
    for ticket in tickets:
        with pytest.raises(type(error)):
            ticket.future.result(10)
    assert pool.submit("next", lambda: 7, urgency=Urgency.ROUTINE).future.result(10) == 7


def test_a_leader_who_gives_up_does_not_take_the_answer_from_followers(open_pool):
    pool, busy, gate = open_pool(1), Gate(), Gate()
    pool.submit("other", busy, urgency=Urgency.ROUTINE)
    assert busy.running.wait(10)
    leader = pool.submit("frame", gate, urgency=Urgency.ROUTINE)
    follower = pool.submit("frame", gate, urgency=Urgency.ROUTINE)
    assert leader.future.cancel()
    busy.open.set()
    gate.open.set()
    assert follower.future.result(10) == "answer"


def test_what_nobody_waits_for_any_more_is_not_fetched(open_pool):
    pool, busy, gate = open_pool(1), Gate(), Gate()
    pool.submit("other", busy, urgency=Urgency.ROUTINE)
    assert busy.running.wait(10)
    pool.submit("frame", gate, urgency=Urgency.ROUTINE).future.cancel()
    busy.open.set()
    assert pool.submit("next", lambda: 7, urgency=Urgency.ROUTINE).future.result(10) == 7
    assert gate.runs == 0


def test_a_reader_goes_ahead_of_warming_and_stat_ahead_of_routine(open_pool):
    pool, busy, done = open_pool(1), Gate(), []
    pool.submit("other", busy, urgency=Urgency.ROUTINE)
    assert busy.running.wait(10)
    tickets = [
        pool.submit(name, lambda name=name: done.append(name), urgency=urgency)
        for name, urgency in [
            ("routine 1", Urgency.ROUTINE),
            ("routine 2", Urgency.ROUTINE),
            ("high", Urgency.HIGH),
            ("stat", Urgency.STAT),
            ("reader", Urgency.READER),
        ]
    ]
    tickets.append(pool.submit("routine 2", lambda: None, urgency=Urgency.READER))
    busy.open.set()
    for ticket in tickets:
        ticket.future.result(10)
    assert done == ["reader", "routine 2", "stat", "high", "routine 1"]


def test_closing_cancels_what_is_queued_and_waits_for_what_runs(open_pool):
    pool, gate = open_pool(1), Gate()
    running = pool.submit("frame", gate, urgency=Urgency.ROUTINE)
    assert gate.running.wait(10)
    queued = pool.submit("next", lambda: 7, urgency=Urgency.ROUTINE)
    closing = threading.Thread(target=pool.close)
    closing.start()
    gate.open.set()
    closing.join(10)
    assert running.future.result(0) == "answer"
    assert queued.future.cancelled()
    assert pool.submit("late", gate, urgency=Urgency.ROUTINE).future.cancelled()
