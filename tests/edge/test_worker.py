import logging
import threading

import pytest

from teleprefetch.edge.warming.worker import Worker
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.model import PurgeOrder
from tests.edge.fakes_for_node import (
    ORIGIN,
    FakeOrders,
    FakeProgress,
    FakeTasks,
    content,
    eventually,
    order,
    plan,
    pointer,
)


@pytest.fixture
def orders():
    return FakeOrders()


@pytest.fixture
def tasks():
    return FakeTasks()


@pytest.fixture
def progress():
    return FakeProgress()


@pytest.fixture
def start_worker(orders, tasks, progress, clock):
    started = []

    def start(warmer, store, **options):
        worker = Worker(
            node="n1",
            orders=orders,
            tasks=tasks,
            progress=progress,
            warmer=warmer,
            store=store,
            clock=clock,
            wait_s=0.02,
            **({"heartbeat_s": 0.01, "visibility_s": 30} | options),
        )
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def worker(start_worker, warmer, store):
    return start_worker(warmer, store)


def test_an_order_is_warmed_reported_answered_and_deleted(
    worker, orders, tasks, progress, origin, documents
):
    series = origin.hold(pointer(), 3)
    receipt = orders.put(order(documents, plan(series)))
    eventually(lambda: receipt in orders.deleted)
    sizes = sum(len(content(number)) for number in (1, 2, 3))
    assert tasks.succeeded == {
        "t1": {
            "prefetch_id": "p1",
            "node": "n1",
            "state": "warm",
            "frames_planned": 3,
            "frames_warmed": 3,
            "frames_verified": 3,
            "frames_fetched": 3,
            "bytes_warmed": sizes,
            "bytes_fetched": sizes,
        }
    }
    assert progress.last("p1").state == "warm"
    assert worker.is_running


def test_while_an_order_lasts_task_queue_and_report_hear_of_it(
    worker, orders, tasks, progress, origin, documents
):
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 2))))
    eventually(lambda: tasks.heartbeats["t1"] >= 3)
    eventually(lambda: orders.extended.count((receipt, 30)) >= 3)
    eventually(lambda: len(progress.all) >= 5 and progress.all[-1].frames_planned == 2)
    assert receipt not in orders.deleted
    gate.set()
    eventually(lambda: receipt in orders.deleted)
    assert progress.all[-1].state == "warm"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        '{"kind": "warm"}',
        '{"kind": "evil"}',
        '{"kind": ["warm"]}',
        "[" * 100_000,
        '{"kind": "purge", "node": "n1", "origin_id": "a", "image_set_id": "../../x"}',
        '{"kind": "purge", "node": "n2", "origin_id": "a", "image_set_id": "' + "0" * 32 + '"}',
    ],
)
def test_a_malformed_order_is_logged_and_left_and_the_next_one_carried_out(
    worker, orders, origin, documents, body, caplog
):
    bad = orders.put(body)
    good = orders.put(order(documents, plan(origin.hold(pointer(), 1))))
    eventually(lambda: good in orders.deleted)
    assert bad in orders.hidden
    assert "an order was refused" in caplog.text
    assert "../../x" not in caplog.text


def test_an_order_with_a_time_without_offset_is_refused(worker, orders, documents):
    one = order(documents, plan(pointer()))
    receipt = orders.put(one.model_copy(update={"give_up_at": one.give_up_at.replace(tzinfo=None)}))
    eventually(lambda: receipt in orders.hidden)
    assert orders.deleted == []


def test_a_stale_token_stops_nothing(worker, orders, tasks, origin, documents, store):
    tasks.stale.add("t1")
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    series = origin.hold(pointer(), 2)
    receipt = orders.put(order(documents, plan(series)))
    eventually(lambda: tasks.heartbeats["t1"] == 1)
    gate.set()
    eventually(lambda: receipt in orders.deleted)
    assert len(store.verify(ORIGIN, series)) == 2
    assert tasks.succeeded == {}


def test_a_token_that_goes_stale_at_the_answer_still_ends_the_order(
    start_worker, warmer, store, orders, tasks, origin, documents
):
    tasks.stale.add("t1")
    start_worker(warmer, store, heartbeat_s=60)
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 1))))
    eventually(lambda: receipt in orders.deleted)
    assert "t1" in tasks.succeeded


def test_a_full_store_fails_the_task_by_name_and_reports(
    start_worker, open_warmer, open_store, orders, tasks, progress, origin, documents
):
    store = open_store(limit_bytes=3 << 20)
    start_worker(open_warmer(store), store)
    origin.before_frame = lambda _entry: content(1) + bytes(1 << 20)
    series = origin.hold(pointer(), 9, with_checksums=False)
    receipt = orders.put(order(documents, plan(series)))
    eventually(lambda: receipt in orders.deleted)
    assert tasks.failed == {"t1": ("NodeUnavailableError", "store is full")}
    assert tasks.succeeded == {}
    assert progress.last("p1").state == "partial"


def test_a_plan_that_is_not_there_fails_the_task_for_the_machine_to_retry(
    worker, orders, tasks, documents
):
    one = order(documents, plan(pointer()))
    documents.held.clear()
    receipt = orders.put(one)
    eventually(lambda: receipt in orders.deleted)
    assert tasks.failed["t1"][0] == "OriginUnavailableError"


def test_an_answer_that_cannot_be_given_leaves_the_order_on_the_queue(
    start_worker, warmer, store, orders, tasks, origin, documents, monkeypatch
):
    def refuse(_token, _output):
        raise OriginUnavailableError("tasks: no answer")

    monkeypatch.setattr(tasks, "succeed", refuse)
    worker = start_worker(warmer, store)
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 1))))
    eventually(lambda: orders.hidden and not worker._active)
    assert receipt not in orders.deleted


def test_reports_and_heartbeats_that_fail_hold_nothing_up(
    start_worker, warmer, store, orders, tasks, progress, origin, documents, monkeypatch
):
    def refuse(*_args, **_kwargs):
        raise OriginUnavailableError("away")

    monkeypatch.setattr(progress, "report", refuse)
    monkeypatch.setattr(tasks, "heartbeat", refuse)
    monkeypatch.setattr(orders, "extend", refuse)
    start_worker(warmer, store)
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 5))))
    eventually(lambda: receipt in orders.deleted)
    assert tasks.succeeded["t1"]["state"] == "warm"


def test_a_purge_order_purges_and_is_deleted(worker, orders, origin, documents, store):
    series = origin.hold(pointer(), 2)
    warmed = orders.put(order(documents, plan(series)))
    eventually(lambda: warmed in orders.deleted)
    purge = PurgeOrder(node="n1", origin_id=ORIGIN, image_set_id=series.image_set_id)
    receipt = orders.put(purge)
    eventually(lambda: receipt in orders.deleted)
    assert store.rows() == []


def test_a_purge_does_not_wait_for_warm_orders(
    start_worker, warmer, store, orders, origin, documents
):
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    start_worker(warmer, store, at_once=1)
    series = origin.hold(pointer(), 2)
    for number in range(3):
        orders.put(order(documents, plan(series, prefetch_id=f"p{number}")))
    purge = PurgeOrder(node="n1", origin_id=ORIGIN, image_set_id=pointer(7).image_set_id)
    receipt = orders.put(purge)
    eventually(lambda: receipt in orders.deleted)
    assert orders.deleted == [receipt]
    gate.set()
    eventually(lambda: len(orders.deleted) == 4)


def test_orders_beyond_those_under_way_wait_with_a_heartbeat(
    start_worker, warmer, store, orders, tasks, origin, documents
):
    gate = threading.Event()
    origin.before_frame = lambda _entry: gate.wait(10) and None
    start_worker(warmer, store, at_once=1)
    series = origin.hold(pointer(), 1)
    for number in range(3):
        token, plan_ = f"t{number}", plan(series, prefetch_id=f"p{number}")
        orders.put(order(documents, plan_, token=token))
    eventually(lambda: all(tasks.heartbeats[f"t{number}"] for number in range(3)))
    gate.set()
    eventually(lambda: len(orders.deleted) == 3)
    assert origin.frame_calls["1.2.1.1.1", 1] == 1


def test_stopping_gives_unfinished_orders_back_and_a_next_worker_resumes(
    start_worker, warmer, store, orders, tasks, origin, documents
):
    series = origin.hold(pointer(), 30)
    gate = threading.Event()
    origin.before_frame = lambda entry: (
        gate.wait(10) and None if entry.sop_instance_uid.endswith("25") else None
    )
    first = start_worker(warmer, store)
    receipt = orders.put(order(documents, plan(series)))
    eventually(lambda: origin.frame_calls["1.2.1.1.25", 1])
    first.stop()
    assert (receipt, 0) in orders.extended
    assert tasks.succeeded == {}
    assert not first.is_running
    gate.set()
    start_worker(warmer, store)
    eventually(lambda: receipt in orders.deleted)
    assert tasks.succeeded["t1"]["state"] == "warm"
    assert max(origin.frame_calls.values()) == 1


def test_a_queue_that_fails_is_asked_again(
    start_worker, warmer, store, orders, origin, documents, monkeypatch, caplog
):
    receive, failures = orders.receive, [OriginUnavailableError("queue: away")]

    def sometimes(*, wait_s):
        if failures:
            raise failures.pop()
        return receive(wait_s=wait_s)

    monkeypatch.setattr(orders, "receive", sometimes)
    start_worker(warmer, store)
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 1))))
    eventually(lambda: receipt in orders.deleted)
    assert "receiving orders failed" in caplog.text


def test_logs_name_no_uid_and_no_token(worker, orders, origin, documents, caplog):
    caplog.set_level(logging.DEBUG)

    def damage(_entry):
        return b"<html>"

    origin.before_frame = damage
    receipt = orders.put(order(documents, plan(origin.hold(pointer(), 3)), token="secret-token"))
    eventually(lambda: receipt in orders.deleted)
    assert caplog.records
    assert "1.2.1" not in caplog.text
    assert "secret-token" not in caplog.text
