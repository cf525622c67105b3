import threading

import pytest

from teleprefetch.edge.archives.breaker import Breaker
from teleprefetch.errors import OriginThrottledError, OriginUnavailableError, StudyNotFoundError


class Archive:
    def __init__(self):
        self.asked = 0
        self.error = OriginUnavailableError("down")

    def __call__(self):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def openings():
    return []


@pytest.fixture
def breaker(now, openings):
    return Breaker(
        monotonic_s=lambda: now[0], on_open=lambda: openings.append(now[0]), jitter=lambda: 1.0
    )


def ask(breaker, archive, times=1):
    for _ in range(times):
        with pytest.raises((OriginUnavailableError, OriginThrottledError)):
            breaker.call(archive)


def test_an_archive_that_keeps_failing_is_left_alone(breaker, openings):
    archive = Archive()
    ask(breaker, archive, 20)
    assert archive.asked == 5
    assert openings == [0.0]
    assert breaker.retry_after_s == 1.0


def test_after_the_pause_one_request_decides(breaker, now):
    archive = Archive()
    ask(breaker, archive, 6)
    now[0] = 1.0
    ask(breaker, archive, 5)
    assert archive.asked == 6
    assert breaker.retry_after_s == 2.0
    now[0] = 3.0
    archive.error = None
    assert breaker.call(archive) == "answer"
    assert breaker.retry_after_s == 0.0
    assert [breaker.call(archive) for _ in range(3)] == ["answer"] * 3


def test_pauses_double_to_half_a_minute(breaker, now, openings):
    archive, pauses = Archive(), []
    ask(breaker, archive, 5)
    for _ in range(8):
        pauses.append(breaker.retry_after_s)
        now[0] += pauses[-1]
        ask(breaker, archive)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert len(openings) == 9


def test_while_one_tries_the_others_are_refused(breaker, now):
    archive, trying, go_on = Archive(), threading.Event(), threading.Event()
    ask(breaker, archive, 5)
    now[0] = 1.0

    def slow():
        trying.set()
        assert go_on.wait(10)
        return "answer"

    answers = []
    probe = threading.Thread(target=lambda: answers.append(breaker.call(slow)))
    probe.start()
    assert trying.wait(10)
    ask(breaker, archive, 10)
    assert archive.asked == 5
    go_on.set()
    probe.join(10)
    archive.error = None
    assert [*answers, breaker.call(archive)] == ["answer", "answer"]


@pytest.mark.parametrize("error", [OriginUnavailableError, OriginThrottledError])
def test_a_refusal_says_how_the_archive_failed(breaker, error):
    archive = Archive()
    archive.error = error("x")
    ask(breaker, archive, 5)
    with pytest.raises(error):
        breaker.call(archive)


def test_an_archive_that_says_no_is_well(breaker):
    archive = Archive()
    for _ in range(3):
        ask(breaker, archive, 4)
        archive.error = StudyNotFoundError("no")
        with pytest.raises(StudyNotFoundError):
            breaker.call(archive)
        archive.error = OriginUnavailableError("down")
    assert archive.asked == 15


def test_a_probe_that_ends_by_a_bug_does_not_leave_the_breaker_half_open(breaker, now):
    archive = Archive()
    ask(breaker, archive, 5)
    now[0] = 1.0
    archive.error = KeyError("bug")
    with pytest.raises(KeyError):
        breaker.call(archive)
    archive.error = None
    assert breaker.call(archive) == "answer"


def test_nodes_do_not_come_back_together(now):
    pauses = set()
    for draw in (0.0, 0.5, 1.0):
        breaker = Breaker(monotonic_s=lambda: now[0], jitter=lambda draw=draw: draw)
        ask(breaker, Archive(), 5)
        pauses.add(breaker.retry_after_s)
    assert pauses == {0.5, 0.75, 1.0}
