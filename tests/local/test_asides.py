"""What an emulated service does aside is over before its stack goes down."""

import threading

from teleprefetch.local.asides import aside, finished


def test_what_was_begun_aside_is_waited_for_with_what_it_began() -> None:
    done = threading.Event()
    told = threading.Event()

    def first() -> None:
        told.wait(5)
        aside(done.set)

    aside(first)
    assert not finished(within_s=0)
    told.set()
    assert finished(within_s=5)
    assert done.is_set()


def test_work_that_fails_is_over_as_well() -> None:
    caught: list[object] = []
    shown, threading.excepthook = threading.excepthook, lambda failure: caught.append(failure)

    def failing() -> None:
        raise ValueError("no")

    try:
        aside(failing)
        assert finished(within_s=5)
    finally:
        threading.excepthook = shown


def test_work_that_never_ends_is_left_behind_after_its_time() -> None:
    stop = threading.Event()
    aside(stop.wait)
    assert not finished(within_s=0.01)
    stop.set()
    assert finished(within_s=5)
