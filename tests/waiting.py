"""Waiting for what other threads and processes bring about."""

import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 20


def until(condition: Callable[[], Any], what: str, *, within_s: float = WITHIN_S) -> Any:
    """What the condition gives once it is true; looks again and again, and never waits blindly."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")
