import random
from collections import Counter
from typing import Any

import pytest

from teleprefetch.adapters.retrying import NO_RETRIES, RetryPolicy
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)

THROTTLED, UNAVAILABLE = OriginThrottledError("frame"), OriginUnavailableError("frame")
CORRUPT = CorruptPayloadError("frame")


class Reads:
    """Ends with each of `outcomes` in turn, then answers."""

    def __init__(self, *outcomes: PrefetchError) -> None:
        self.left = list(outcomes)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.left:
            raise self.left.pop(0)
        return "bytes"


class Sleeps(list[float]):
    """Waits no time, and remembers how long it was asked to."""

    def __call__(self, delay_s: float) -> None:
        self.append(delay_s)


def a_policy(**fields: Any) -> RetryPolicy:
    return RetryPolicy(**{"sleep": Sleeps(), **fields})


@pytest.mark.parametrize("error", [THROTTLED, UNAVAILABLE], ids=lambda error: type(error).__name__)
def test_a_throttled_or_unavailable_read_is_tried_until_it_answers(error):
    reads = Reads(error, error, error)
    assert a_policy().call(reads) == "bytes"
    assert reads.count == 4


@pytest.mark.parametrize(
    "error",
    [AccessDeniedError("x"), StudyNotFoundError("x"), InvalidPayloadError("x"), ValueError("x")],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_does_not_mend_is_not_tried_again(error):
    reads = Reads(error)
    with pytest.raises(type(error)):
        a_policy().call(reads)
    assert reads.count == 1


def test_a_corrupt_read_is_fetched_once_more():
    assert a_policy().call(Reads(CORRUPT)) == "bytes"
    reads = Reads(CORRUPT, CORRUPT)
    with pytest.raises(CorruptPayloadError):
        a_policy().call(reads)
    assert reads.count == 2


def test_a_corrupt_read_is_fetched_once_more_however_often_it_was_throttled():
    reads = Reads(THROTTLED, CORRUPT, THROTTLED, CORRUPT)
    with pytest.raises(CorruptPayloadError):
        a_policy(attempts=9).call(reads)
    assert reads.count == 4


def test_the_last_error_is_raised_as_it_is_after_the_last_attempt():
    reads = Reads(*[UNAVAILABLE] * 9, THROTTLED)
    with pytest.raises(OriginUnavailableError) as caught:
        a_policy(attempts=5).call(reads)
    assert caught.value is UNAVAILABLE
    assert reads.count == 5


def test_no_delay_is_longer_than_the_longest():
    sleeps = Sleeps()
    policy = a_policy(attempts=40, longest_delay_s=2.0, give_up_after_s=1e9, sleep=sleeps)
    with pytest.raises(OriginThrottledError):
        policy.call(Reads(*[THROTTLED] * 40))
    assert len(sleeps) == 39
    assert max(sleeps) <= 2.0
    assert sum(sleeps) > 0


def test_no_attempt_begins_after_the_time_to_give_up():
    policy = a_policy(attempts=40, first_delay_s=50, longest_delay_s=100, give_up_after_s=0)
    reads = Reads(*[THROTTLED] * 40)
    with pytest.raises(OriginThrottledError):
        policy.call(reads)
    assert reads.count == 1


def test_without_retries_there_is_one_attempt():
    reads = Reads(THROTTLED)
    with pytest.raises(OriginThrottledError):
        NO_RETRIES.call(reads)
    assert reads.count == 1


OUTAGE_S = 90.0
CALLERS = 300


def knocks_of_one_caller() -> list[float]:
    """When one caller knocks at an archive that throttles everybody until the outage ends."""
    now = 0.0
    knocks: list[float] = []

    def sleep(delay_s: float) -> None:
        nonlocal now
        now += delay_s

    def read() -> None:
        knocks.append(now)
        if now < OUTAGE_S:
            raise THROTTLED

    policy = RetryPolicy(sleep=sleep)
    while now < OUTAGE_S:  # a worker that gave up takes the frame up again at once: the worst case
        try:
            policy.call(read)
        except OriginThrottledError:
            continue
    return knocks


def test_callers_that_were_throttled_together_do_not_come_back_together():
    random.seed(0)
    knocks = [knock for _ in range(CALLERS) for knock in knocks_of_one_caller()]
    per_tenth = Counter(int(knock * 10) for knock in knocks if knock >= 10)
    outage = range(100, int(OUTAGE_S * 10))
    usual = sum(per_tenth[tenth] for tenth in outage) / len(outage)
    assert max(per_tenth[tenth] for tenth in outage) <= 2 * usual, "a wave in the outage"
    after = [count for tenth, count in per_tenth.items() if tenth >= OUTAGE_S * 10]
    assert max(after) <= 1.5 * usual, "a spike when the outage ends"
    assert sum(after) >= CALLERS * 0.8
