"""What a process of the node has counted since it started; for the metrics."""

import threading
from collections import Counter
from typing import Final, Literal

Counted = Literal[
    "hits",
    "misses",
    "read_through_frames",
    "read_through_failures",
    "passed_through_frames",
    "integrity_failures",
    "refetches",
    "refused_entries",
    "index_rebuilds",
    "purges",
    "purged_versions",
    "evictions",
    "evicted_bytes",
    "carried_over_frames",
    "breaker_openings",
    "throttled_fetches",
    "throttled_reads",
    "quota_alone",
]
NAMES: Final[tuple[str, ...]] = Counted.__args__  # type: ignore[attr-defined]  # a Literal has them


class Counters:
    """Named counts; any number of threads add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(NAMES, 0))

    def add(self, name: Counted, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[name] += number

    def snapshot(self) -> dict[str, int]:
        """All counts of this moment, those of 0 too."""
        with self._lock:
            return dict(self._counts)
