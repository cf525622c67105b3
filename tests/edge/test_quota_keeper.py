"""The node's part in shared quotas: never blocking, alone if it must be, readers first."""

import logging
import math
import threading

import pytest

from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.domain.quota import WINDOW_S, Quota
from teleprefetch.domain.scheduling import Lane, Operation
from teleprefetch.edge.archives.metered import MeteredOrigins
from teleprefetch.edge.archives.quota_keeper import QuotaKeeper
from teleprefetch.edge.archives.shared_quotas import SharedQuotas, groups_of, quotas_of
from teleprefetch.errors import OriginThrottledError
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.fakes_for_node import FakeOrigin, entry, eventually, pointer
from tests.fakes import MemoryQuotaLedger
from tests.quota_nodes import FRAMES, STORE, QuotaNode, VirtualClock

QUOTA = Quota(100, 200)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def ledger(clock):
    return MemoryQuotaLedger(date_s=lambda: clock() + 10**6)


@pytest.fixture
def node(clock, ledger):
    return QuotaNode(clock, ledger, QUOTA, queued=10**6)


def run(node, seconds, *, step_s=0.05):
    """How many fetches a node begins in a time."""
    begun = 0
    for _ in range(round(seconds / step_s)):
        node.clock.now_s += step_s
        if math.isinf(node.keeper.wait_s(FRAMES)):
            node.keeper.step()
        begun += node.spend()
    return begun


def test_an_operation_without_a_quota_is_never_held_back(clock, ledger):
    keeper = QuotaKeeper(
        ledger, {}, groups={}, readers_share=0.2, queued=dict, wake=lambda: None, monotonic_s=clock
    )
    assert keeper.wait_s(Lane("dicomweb archive", Operation.FRAME)) == 0.0
    assert keeper.step() > 0
    assert ledger.calls == 0


def test_an_idle_node_asks_the_ledger_nothing(node, ledger):
    node.queued = 0
    for _ in range(100):
        node.keeper.step()
    assert ledger.calls == 0


def test_warming_has_what_readers_do_not_have(node):
    run(node, 4)
    assert run(node, 20) == pytest.approx(80 * 20, rel=0.03)


def test_readers_who_use_more_than_their_share_are_not_held_back_but_warming_is(node):
    begun = []
    for _ in range(300):
        for _ in range(6):
            node.keeper.read(STORE, Operation.FRAME)
        begun.append(run(node, 0.1))
    after_some_windows = sum(begun[100:])
    assert after_some_windows == pytest.approx(40 * 20, rel=0.1), "readers take 60 of 100 a second"


def test_a_429_slows_all_nodes_down_and_they_come_back(node, clock, ledger):
    other = QuotaNode(clock, ledger, QUOTA, queued=0)
    run(node, 4)
    other.keeper.told_to_slow_down(STORE, Operation.FRAME)
    other.keeper.step()
    run(node, 4)
    slow = run(node, 10)
    assert slow < 0.85 * 80 * 10
    run(node, 120)
    assert run(node, 10) == pytest.approx(80 * 10, rel=0.03)


def test_without_its_ledger_a_node_goes_on_at_a_tenth_says_so_and_comes_back(node, ledger, caplog):
    run(node, 4)
    ledger.is_down = True
    run(node, WINDOW_S)
    assert 0 < run(node, 20) <= 8 * 20 + 16
    assert node.keeper.is_alone
    assert caplog.text.count("the quota ledger does not answer") == 1
    assert "OriginUnavailableError" in caplog.text
    ledger.is_down = False
    caplog.set_level(logging.WARNING)
    run(node, 2 * WINDOW_S)
    assert not node.keeper.is_alone
    assert caplog.text.count("the quota ledger answers again") == 1
    assert run(node, 10) == pytest.approx(80 * 10, rel=0.05)


def test_a_ledger_that_was_never_reached_holds_nothing_up(clock, ledger):
    ledger.is_down = True
    node = QuotaNode(clock, ledger, QUOTA, queued=10**6)
    run(node, 4)
    assert run(node, 20) == pytest.approx(8 * 20, rel=0.3)


@pytest.mark.parametrize("step_s", [360.0, -360.0, 90 * 86_400.0])
def test_a_wall_clock_that_is_set_changes_nothing(clock, ledger, step_s):
    """Windows are numbered by the ledger's server, and between its answers by a monotonic clock."""
    wall = [0.0]
    keeper = QuotaKeeper(
        ledger,
        {STORE: {Operation.FRAME: QUOTA}},
        groups={STORE: STORE},
        readers_share=0.2,
        queued=lambda: {FRAMES: 1000},
        wake=lambda: None,
        monotonic_s=clock,
        wall_s=lambda: wall[0],
    )
    keeper.step()
    wall[0] += step_s
    clock.now_s += WINDOW_S
    keeper.step()
    assert ledger.states[f"{STORE}#frame"].window == int((clock() + 10**6) // WINDOW_S)


def test_stores_of_one_region_draw_on_the_same_quota(clock, ledger):
    other = Lane("other", Operation.FRAME)
    keeper = QuotaKeeper(
        ledger,
        {"region": {Operation.FRAME: QUOTA}},
        groups={STORE: "region", "other": "region"},
        readers_share=0.2,
        queued=lambda: {FRAMES: 500, other: 500},
        wake=lambda: None,
        monotonic_s=clock,
    )
    keeper.step()
    while not keeper.wait_s(FRAMES):
        keeper.begun(FRAMES)
    assert keeper.wait_s(other) > 0
    assert list(ledger.states) == ["region#frame"]


def settings(**changed):
    given = {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/q",
        "TABLE_NAME": "t",
        "STORE_PATH": "store",
        "STORE_BYTES": "1000",
        "ORIGINS": '{"store": {"kind": "healthimaging", "region": "eu-west-1"},'
        ' "pacs": {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}',
    }
    return from_environment(NodeSettings, given | changed)


def test_settings_change_single_quotas_and_other_archives_have_none():
    changed = settings(QUOTAS='{"GetImageFrame": {"per_second": 2000, "burst": 4000}}')
    assert groups_of(changed) == {"store": "healthimaging@eu-west-1"}
    (quotas,) = quotas_of(changed).values()
    assert quotas == {
        Operation.FRAME: Quota(2000, 4000),
        Operation.METADATA: Quota(50, 100),
    }
    scarce = settings(QUOTAS='{"GetDICOMSeriesMetadata": {"per_second": 5, "burst": 10}}')
    assert quotas_of(scarce)["healthimaging@eu-west-1"][Operation.METADATA] == Quota(5, 10)
    assert settings().quota_readers_share == 0.2


def test_the_thread_leases_when_something_is_queued_and_ends(ledger):
    woken, queued = threading.Event(), {}
    lane = Lane("store", Operation.FRAME)
    quotas = SharedQuotas(
        settings(), ledger, queued=lambda: queued, wake=woken.set, count=lambda _name: None
    )
    quotas.start()
    try:
        queued[lane] = 10
        assert quotas.gate.wait_s(lane) > 0
        assert woken.wait(10)
        eventually(lambda: quotas.gate.wait_s(lane) == 0)
    finally:
        quotas.close()
    assert not quotas._thread.is_alive()


class Reads:
    def __init__(self):
        self.reads = []
        self.slow = []

    def read(self, origin_id, operation):
        self.reads.append((origin_id, operation))

    def told_to_slow_down(self, origin_id, operation):
        self.slow.append((origin_id, operation))


def test_each_attempt_of_a_reader_is_counted_and_each_429_told():
    origin, reads, failures = FakeOrigin(), Reads(), [1, 1]
    series = origin.hold(pointer(), 1)

    def throttle(_entry):
        if failures:
            failures.pop()
            raise OriginThrottledError("slow down")

    origin.before_frame = throttle
    policy = RetryPolicy(attempts=3, sleep=lambda _s: None)
    origins = MeteredOrigins({"store": origin}, reads=reads, retries=policy)
    assert origins["store"].retrieve_frame(series, entry(series, 1)).content
    assert reads.reads == [("store", Operation.FRAME)] * 3
    assert reads.slow == [("store", Operation.FRAME)] * 2
    reads.reads.clear()
    origins["store"].retrieve_series_metadata(series)
    assert reads.reads == [("store", Operation.METADATA)]
    assert (list(origins), len(origins), "store" in origins) == (["store"], 1, True)
