"""What an emulated service does of itself, on a thread, while its caller goes on."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

_LEFT: Final[set[threading.Thread]] = set()
_LOCK: Final = threading.Lock()


def aside(work: Callable[..., Any], *arguments: Any) -> None:
    """Do the work on a thread of its own, which `finished` waits for."""

    def run() -> None:
        try:
            work(*arguments)
        finally:
            with _LOCK:
                _LEFT.discard(threading.current_thread())

    thread = threading.Thread(target=run, daemon=True)
    with _LOCK:
        _LEFT.add(thread)
        thread.start()


def finished(*, within_s: float) -> bool:
    """Whether all of it, and what it began meanwhile, has ended within the time.

    A stack that goes down waits for it, since what still runs reads the environment and the
    services that go down with it.
    """
    deadline = time.monotonic() + within_s
    while True:
        with _LOCK:
            left = next(iter(_LEFT), None)
        if left is None:
            return True
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        left.join(left_s)
