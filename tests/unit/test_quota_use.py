from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.quota import Quota, leased
from teleprefetch.domain.quota_meter import Moment, QuotaMeter
from teleprefetch.domain.quota_use import QuotaUse
from teleprefetch.quotas import Lease, QuotaState


def test_of_each_window_the_most_that_was_heard_counts():
    use = QuotaUse()
    for window, requests in ((7, 100), (7, 250), (7, 200), (8, 30)):
        use.saw(window, requests)
    assert use.take() == 280
    assert use.take() == 0


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 4000)), max_size=200))
def test_it_keeps_no_more_than_two_minutes_and_never_counts_too_much(heard):
    use = QuotaUse()
    for window, requests in heard:
        use.saw(window, requests)
    assert len(use._windows) <= 64
    most = {window: max(n for w, n in heard if w == window) for window, _ in heard}
    assert use.take() <= sum(most.values())


def test_a_meter_hears_what_all_nodes_and_readers_use():
    meter = QuotaMeter(Quota(1000, 2000), 0.2)
    moment = Moment(own_s=10.0, server_s=1000.0)
    ask = meter.ask(moment, queued=500)
    assert ask is not None
    theirs = QuotaState(window=ask.window, taken=700, readers=40)
    state, granted = leased(theirs, ask)
    meter.granted(ask, Lease(granted, state, None), moment)
    assert granted > 0
    assert meter.use.take() == 700 + granted + 40


def test_a_meter_without_a_ledger_counts_its_own():
    meter = QuotaMeter(Quota(1000, 2000), 0.2)
    moment = Moment(own_s=10.0, server_s=1000.0)
    ask = meter.ask(moment, queued=500)
    assert ask is not None
    meter.alone(ask, moment)
    assert 0 < meter.use.take() <= 160  # a tenth of what warming may have of a window
