"""The arithmetic of shared quotas, and nodes that share one whatever they do."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleprefetch.domain.quota import (
    HEALTHIMAGING_QUOTAS,
    WINDOW_S,
    Quota,
    alone_limit,
    learned_share,
    leased,
    limit_of,
    part_of,
    share_of,
    slowed_down,
)
from teleprefetch.domain.quota_tokens import LeasedTokens
from teleprefetch.domain.server_time import ServerTime
from teleprefetch.quotas import Ask, QuotaState
from tests.fakes import MemoryQuotaLedger
from tests.quota_nodes import FRAMES, AwsBucket, QuotaNode, VirtualClock

SMALL = Quota(50, 100)

asks = st.builds(
    Ask,
    window=st.integers(0, 6),
    tokens=st.integers(0, 200),
    limit=st.just(80),
    need=st.integers(0, 200),
)


@given(st.lists(asks, max_size=60))
def test_over_any_asks_in_any_order_no_window_grants_more_than_its_limit(asks: list[Ask]) -> None:
    state, granted = QuotaState(), Counter[int]()
    for ask in asks:
        before = state
        state, tokens = leased(state, ask)
        granted[ask.window] += tokens
        assert state.window >= before.window
    assert all(number <= 80 for number in granted.values())


def test_readers_have_their_share_and_more_if_they_used_more() -> None:
    frames = HEALTHIMAGING_QUOTAS["GetImageFrame"]
    quiet = QuotaState(window=5, readers_before=100)
    assert limit_of(frames, quiet, window=5, readers_share=0.2) == 0.8 * 1000 * WINDOW_S
    busy = QuotaState(window=5, readers_before=900)
    assert limit_of(frames, busy, window=5, readers_share=0.2) == 1000 * WINDOW_S - 900
    flooded = QuotaState(window=5, readers_before=9000)
    assert limit_of(frames, flooded, window=5, readers_share=0.2) == 1


@given(st.lists(st.integers(0, 300), max_size=40))
def test_what_was_learned_falls_by_429s_and_comes_back(windows: list[int]) -> None:
    state = QuotaState()
    for window in windows:
        before = learned_share(state, window)
        state = slowed_down(state, window)
        after = learned_share(state, max(window, state.learned_window))
        assert 0.02 <= after <= max(before, 0.02) or window <= state.learned_window
    shares = [learned_share(state, state.learned_window + gone) for gone in range(70)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@given(st.integers(1, 3000), st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 1))
def test_a_share_is_never_more_than_is_needed_or_there(
    limit: int, need: int, others: int, elapsed: float
) -> None:
    part = part_of(limit, need=need, others=others)
    assert part <= limit
    share = share_of(limit, need=need, part=part, usable=limit, elapsed=elapsed, held=0)
    assert 0 <= share <= min(need, max(limit, 1))


def test_alone_a_node_takes_a_tenth_and_never_nothing() -> None:
    assert alone_limit(1600) == 160
    assert alone_limit(3) == 1


@given(
    st.integers(1, 2000),
    st.lists(st.floats(0, 2), min_size=1, max_size=300).map(sorted),
)
def test_tokens_are_spent_evenly_and_gone_at_the_windows_end(
    total: int, moments: list[float]
) -> None:
    tokens = LeasedTokens()
    tokens.add(total, window=1, now_s=0.0, ends_s=2.0, per_second=0.0)
    spent = 0
    for moment_s in moments:
        while tokens.take(moment_s):
            spent += 1
        assert spent <= min(total, 2 + 0.1 * total + total * moment_s / 2)
        assert moment_s >= 2.0 or spent == total or tokens.wait_s(moment_s) > 0
    assert not tokens.take(2.0)
    assert math.isinf(tokens.wait_s(2.0))


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0.01, 5), st.floats(0.001, 0.3)), min_size=1, max_size=40),
)
def test_the_servers_time_is_known_as_well_as_its_answers_tell(
    offset_s: float, answers: list[tuple[float, float]]
) -> None:
    known, now_s, uncertain_s = ServerTime(), 0.0, math.inf
    for pause_s, round_trip_s in answers:
        now_s += pause_s
        heard_s = now_s + round_trip_s / 2 + offset_s
        known.heard(math.floor(heard_s), sent_s=now_s, received_s=now_s + round_trip_s)
        now_s += round_trip_s
        server_s = known.at(now_s)
        assert server_s is not None
        assert abs(server_s - (now_s + offset_s)) <= known.uncertain_s + 1e-6
        assert known.uncertain_s <= uncertain_s + 1e-9
        uncertain_s = known.uncertain_s


def test_a_server_whose_clock_was_set_is_believed_anew() -> None:
    known = ServerTime()
    known.heard(1000, sent_s=0.0, received_s=0.1)
    known.heard(1360, sent_s=1.0, received_s=1.1)
    assert known.at(1.1) == pytest.approx(1360.5, abs=0.6)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_interleaving_of_nodes_exceeds_the_quota(data: st.DataObject) -> None:
    """Nodes come, die with a lease, lose the ledger's answers' order, and have clocks of their own.

    The data store's own bucket refuses nothing, though readers use their whole share.
    """
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))  # noqa: S311
    clock = VirtualClock()
    ledger = MemoryQuotaLedger(date_s=lambda: clock() + 123456.7)
    bucket, readers = AwsBucket(SMALL, clock), 0.0
    skews = data.draw(st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=12))
    nodes = [QuotaNode(clock, ledger, SMALL, skew_s=skew) for skew in skews]
    for _ in range(600):
        pause_s = chance.choice([0.001, 0.02, 0.1, 0.3])
        clock.now_s += pause_s
        readers += pause_s * 0.2 * SMALL.per_second
        while readers >= 1:
            readers -= 1
            assert bucket.take(), "a reader was throttled"
        node = chance.choice(nodes)
        node.queued = chance.choice([0, 3, 50, 5000])
        if chance.random() < 0.6:
            node.keeper.step()
        if chance.random() < 0.02:
            nodes[nodes.index(node)] = QuotaNode(clock, ledger, SMALL, skew_s=node.skew_s)
            continue
        node.spend(bucket)
    assert bucket.refused == 0
    assert bucket.admitted > 0


def test_together_busy_nodes_use_nearly_all_of_what_warming_has() -> None:
    clock = VirtualClock()
    ledger = MemoryQuotaLedger(date_s=lambda: clock())
    quota = HEALTHIMAGING_QUOTAS["GetImageFrame"]
    bucket = AwsBucket(quota, clock)
    nodes = [QuotaNode(clock, ledger, quota, skew_s=number * 0.37) for number in range(10)]
    for _ in range(3000):
        clock.now_s += 0.01
        for node in nodes:
            node.queued = 5000
            if math.isinf(node.keeper.wait_s(FRAMES)):
                node.keeper.step()
            node.spend(bucket)
    warming_per_s = bucket.admitted / 30
    assert 0.9 * 800 <= warming_per_s <= 800 * 1.05
    assert bucket.refused == 0
    shares = [len(node.spent_at_s) for node in nodes]
    assert min(shares) > 0.5 * max(shares)


def test_of_a_hundred_busy_nodes_none_has_more_than_twice_what_another_has() -> None:
    """Each has its part; of the tenth that is left the first to come have as much again."""
    clock = VirtualClock()
    ledger = MemoryQuotaLedger(date_s=lambda: math.floor(clock()))
    quota = HEALTHIMAGING_QUOTAS["GetImageFrame"]
    nodes = [QuotaNode(clock, ledger, quota, queued=10**6) for _ in range(100)]
    looks_at_s = [clock()] * 100
    for _ in range(400):
        clock.now_s += 0.05
        for number, node in enumerate(nodes):
            if clock() >= looks_at_s[number]:
                looks_at_s[number] = clock() + max(0.05, node.keeper.step())
            node.spend()
    shares = [sum(at_s >= 1010 for at_s in node.spent_at_s) for node in nodes]
    assert sum(shares) >= 0.95 * 10 * 800
    assert max(shares) <= 2.5 * min(shares), "of part windows one counts more than another"
