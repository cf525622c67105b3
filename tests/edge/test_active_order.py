"""What an order tells while it is carried out: its last word stands, whatever a heartbeat said."""

from datetime import timedelta

import pytest

from teleprefetch.edge.warming.orders import ActiveOrder
from tests.builders import a_report, a_warmth
from tests.edge.fakes_for_node import START, FakeDocuments, FakeOrders, FakeTasks, order, plan
from tests.fakes import MemoryProgress


@pytest.fixture
def progress():
    return MemoryProgress()


@pytest.fixture
def active(progress):
    sent = order(FakeDocuments(), plan())
    orders, tasks = FakeOrders(), FakeTasks()
    return ActiveOrder(sent, "receipt-1", orders=orders, tasks=tasks, progress=progress)


def told(after_s, *, state, verified):
    return a_report(
        a_warmth("1.2.3", verified, 5),
        prefetch_id="p1",
        node="n1",
        state=state,
        reported_at=START + timedelta(seconds=after_s),
    )


def beat(active, after_s):
    active.beat(visibility_s=30, clock=lambda: START + timedelta(seconds=after_s))


def test_a_heartbeat_while_the_end_is_written_down_does_not_outdate_the_last_report(
    active, progress
):
    active.tell(told(1, state="warming", verified=3))
    ended = told(2, state="warm", verified=5)  # made, and its audit is being written
    beat(active, 9)
    active.succeed(ended)
    [last] = progress.reports("p1")
    assert (last.state, last.studies[0].frames_verified) == ("warm", 5)
    assert last.reported_at == START + timedelta(seconds=9)


def test_a_heartbeat_says_what_was_last_told_and_after_the_end_nothing(active, progress):
    active.tell(told(1, state="warming", verified=3))
    beat(active, 5)
    [last] = progress.reports("p1")
    assert (last.state, last.reported_at) == ("warming", START + timedelta(seconds=5))
    active.tell(told(6, state="warming", verified=4))
    active.succeed(told(7, state="warm", verified=5))
    beat(active, 20)
    [last] = progress.reports("p1")
    assert (last.state, last.reported_at) == ("warm", START + timedelta(seconds=7))


def test_a_clock_that_is_set_back_makes_no_report_older(active, progress):
    active.tell(told(10, state="warming", verified=3))
    beat(active, 2)
    active.tell(told(10, state="warming", verified=4))
    [last] = progress.reports("p1")
    assert (last.studies[0].frames_verified, last.reported_at) == (4, START + timedelta(seconds=10))
