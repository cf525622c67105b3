"""Orders that are late, too many or too dear: the least useful is shed, and the report says so."""

import threading
import time
from datetime import timedelta

import pytest

from teleprefetch.domain.admission import Claim
from teleprefetch.domain.scheduling import Urgency
from teleprefetch.edge.warming.costs import Costs
from teleprefetch.edge.warming.slots import Slots
from teleprefetch.edge.warming.worker import Worker
from teleprefetch.edge.watching.status import _order
from tests.edge.fakes_for_node import (
    START,
    FakeOrders,
    FakeProgress,
    FakeTasks,
    content,
    eventually,
    order,
    plan,
    pointer,
)
from tests.fakes import MemoryQuotaLedger


def due(one, seconds):
    return one.model_copy(update={"due_at": START + timedelta(seconds=seconds)})


@pytest.fixture
def warm(open_warmer, store, documents, clock):
    def run(plan_, *, due_s=None, tell=lambda _report: None, **options):
        warmer = open_warmer(store, threads=1)
        order_options = {
            name: options.pop(name) for name in ("priority", "give_up_s") if name in options
        }
        one = order(documents, plan_, **order_options)
        if due_s is not None:
            one = due(one, due_s)
        return warmer.run(one, tell=tell, stop=threading.Event(), **options)

    return run


def slow(origin, clock, seconds):
    """Each frame takes that long by the test's clock, and is 100 kB."""

    def before(_entry):
        time.sleep(0.01)  # a fetch is slower than an order's own thread
        clock.advance(seconds)
        return content(1) + bytes(100_000)

    origin.before_frame = before


def test_a_late_order_says_so_and_puts_off_the_least_useful(warm, origin, clock):
    series = [origin.hold(pointer(study), 12, with_checksums=False) for study in range(1, 6)]
    slow(origin, clock, 2)
    told = []
    outcome = warm(plan(*series), due_s=40, give_up_s=1000, tell=told.append)
    forecasts = [report.problems[0] for report in told if report.problems]
    late = [words for words in forecasts if "late" in words]
    assert late
    assert all(words.startswith("forecast: ") for words in forecasts)
    assert any("the least useful" in words for words in late)
    shown = [_order(report) for report in told]
    assert {one.forecast for one in shown} >= set(late)
    assert _order(outcome.report).forecast == ""
    assert outcome.report.state == "warm", "nobody waits for its place: all comes in the end"
    assert outcome.report.problems == ()


def test_a_late_order_gives_its_place_to_those_that_wait(warm, origin, clock):
    series = [origin.hold(pointer(study), 12, with_checksums=False) for study in range(1, 6)]
    slow(origin, clock, 2)
    outcome = warm(plan(*series), due_s=60, give_up_s=1000, waiting=lambda: 1)
    report = outcome.report
    assert report.state == "partial"
    assert report.problems == (
        "left to a reader's own requests: its notice is out, and other orders wait",
    )
    assert sum(origin.frame_calls.values()) < 60
    assert all(study.frames_verified >= 3 for study in report.studies), "openings are not shed"
    assert {study.problem for study in report.studies if study.problem} <= {
        "put off as the least useful, and then time ran out",
        "left to a reader's own requests: its notice is out, and other orders wait",
    }


def test_a_stat_order_gives_its_place_to_nobody(warm, origin, clock):
    series = origin.hold(pointer(), 20, with_checksums=False)
    slow(origin, clock, 2)
    outcome = warm(plan(series), due_s=0, give_up_s=1000, priority="stat", waiting=lambda: 1)
    assert outcome.report.state == "warm"


def test_an_order_in_vain_fetches_nothing_and_tells_what_is_held(warm, origin):
    held, other = origin.hold(pointer(1), 3), origin.hold(pointer(2), 3)
    warm(plan(held))
    calls = sum(origin.frame_calls.values())
    report = warm(plan(held, other), is_in_vain=True).report
    assert [study.frames_verified for study in report.studies] == [3, 0]
    assert report.state == "partial"
    assert sum(origin.frame_calls.values()) == calls
    assert origin.metadata_calls[other] == 0


@pytest.mark.parametrize("step_s", [360, -360])
def test_a_clock_that_is_set_neither_ends_an_order_nor_its_reports(
    open_warmer, store, origin, documents, clock, step_s
):
    """Scenario 23: what counts is a clock that only goes forward."""
    warmer = open_warmer(store)
    object.__setattr__(warmer._needs, "monotonic_s", time.monotonic)
    series = origin.hold(pointer(), 30)

    def set_clock(entry):
        if entry.sop_instance_uid.endswith(".15"):
            clock.advance(step_s)

    origin.before_frame = set_clock
    told = []
    outcome = warmer.run(
        order(documents, plan(series), give_up_s=120), tell=told.append, stop=threading.Event()
    )
    assert outcome.report.state == "warm"
    moments = [report.reported_at for report in [*told, outcome.report]]
    assert moments == sorted(moments)


def costs(clock, **caps):
    ledger = MemoryQuotaLedger()
    return Costs(
        **({"study_cap_usd": 0.0, "daily_cap_usd": 0.0} | caps), ledger=ledger, clock=clock
    ), ledger


def test_a_study_over_its_cap_leaves_out_the_least_useful_priors_and_says_so(
    open_warmer, store, origin, documents, clock
):
    series = [origin.hold(pointer(study), 3) for study in range(1, 4)]
    warmer = open_warmer(store)
    warmer._costs, _ = costs(clock, study_cap_usd=0.0006)
    plan_ = plan(*series)
    outcome = warmer.run(order(documents, plan_), tell=lambda _r: None, stop=threading.Event())
    current, first, second = outcome.report.studies
    assert (current.problem, first.problem) == ("", "")
    assert second.problem == "left out: more than US$ 0.0006 for this study"
    assert outcome.report.state == "partial"
    assert origin.metadata_calls[series[2]] == 0


def test_a_days_cap_is_shared_and_never_holds_a_current_study_back(clock):
    capped, ledger = costs(clock, daily_cap_usd=0.001)
    plan_ = plan(pointer(1), pointer(2), pointer(3))
    first = capped.left_out(plan_)
    again = capped.left_out(plan_)
    assert first == {}
    assert set(again) == {1, 2}
    assert set(again.values()) == {"left out: more than US$ 0.001 today for this archive"}
    clock.advance(86_400)
    assert capped.left_out(plan_) == {}
    ledger.is_down = True
    assert capped.left_out(plan_) == {}


def test_a_stopping_node_lets_nobody_wait_for_a_place():
    stopping = threading.Event()
    slots = Slots(
        1, most_waiting=9, monotonic_s=time.monotonic, is_stopping=lambda: stopping.is_set()
    )
    ended = []

    def wait():
        with slots.place(Claim(Urgency.HIGH, "store")):
            ended.append(1)

    with slots.place(Claim(Urgency.HIGH, "store")) as is_admitted:
        assert is_admitted
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(lambda: slots.waiting == 3)
        stopping.set()
        slots.wake()
        for thread in threads:
            thread.join(10)
        assert len(ended) == 3


def test_a_stat_order_is_carried_out_while_all_places_are_taken(
    open_warmer, store, origin, documents, clock
):
    gate = threading.Event()
    orders, progress = FakeOrders(), FakeProgress()
    waiting, urgent = origin.hold(pointer(1), 3), origin.hold(pointer(2), 3)
    origin.before_metadata = lambda series: gate.wait(10) if series == waiting else None
    worker = Worker(
        node="n1",
        orders=orders,
        tasks=FakeTasks(),
        progress=progress,
        warmer=open_warmer(store),
        store=store,
        clock=clock,
        heartbeat_s=60,
        visibility_s=30,
        at_once=1,
        wait_s=0.02,
    )
    worker.start()
    try:
        for number in range(3):
            orders.put(
                order(documents, plan(waiting, prefetch_id=f"p{number}"), token=f"t{number}")
            )
        eventually(lambda: worker._slots.waiting == 2)
        stat = orders.put(
            order(documents, plan(urgent, prefetch_id="urgent"), token="t9", priority="stat")
        )
        eventually(lambda: stat in orders.deleted)
        assert progress.last("urgent").state == "warm"
        assert orders.deleted == [stat]
    finally:
        gate.set()
        worker.stop()
