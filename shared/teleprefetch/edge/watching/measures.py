"""What of a node is worth an alarm: its audit, the archives' quotas, disks, and what waits."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.emf import Measure
from teleprefetch.edge.watching.lanes import ANSWERS, WARMING

_PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the measures come from.

    `quota_share` tells how much of the scarcest quota was used in the seconds that it is given;
    `folders` are those whose disks may run full.
    """

    board: Board
    used_bytes: Callable[[], int]
    limit_bytes: int
    folders: tuple[Path, ...]
    quota_share: Callable[[float], float]
    orders_taken: Callable[[], int]
    orders_waiting: Callable[[], int]
    fetches_waiting: Callable[[], int]


class Measures:
    """Takes them from time to time; of what is counted, what came since the last time.

    Args:
        sources: where they come from.
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(
        self, sources: Sources, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._monotonic_s = monotonic_s
        self._taken_s = monotonic_s()
        self._counted: dict[str, int] = {}

    def take(self) -> dict[str, Measure]:
        """The measures of this moment.

        `AuditGap` counts lanes of the audit that cannot be written, were cut or restored, or stay
        without a checkpoint that is kept; it is 1 at least if requests were denied since the last
        time as they could not be recorded.

        Raises:
            NodeUnavailableError: the store cannot be read.
            OSError: a folder cannot be.
        """
        sources, board = self._sources, self._sources.board
        full = sources.used_bytes() / sources.limit_bytes
        fullest_disk = max(map(_full, sources.folders))
        seconds = self._seconds()
        denied = self._since("denied", board.total(ANSWERS.denied))
        gaps = board.total(ANSWERS.gap) + board.total(WARMING.gap)
        return {
            "AuditGap": Measure(max(gaps, int(denied > 0)), "Count"),
            "AuditDenied": Measure(denied, "Count"),
            "AuditOwed": Measure(board.total(ANSWERS.owed) + board.total(WARMING.owed), "Count"),
            "QuotaShare": _share(sources.quota_share(seconds)),
            "ReadsThrottled": Measure(
                self._since("throttled", board.total(Figure.READS_THROTTLED)), "Count"
            ),
            "StoreFull": _share(full),
            "DiskFull": _share(fullest_disk),
            "OrdersTaken": Measure(sources.orders_taken(), "Count"),
            "OrdersWaiting": Measure(sources.orders_waiting(), "Count"),
            "FetchesWaiting": Measure(sources.fetches_waiting(), "Count"),
        }

    def _seconds(self) -> float:
        before_s, self._taken_s = self._taken_s, self._monotonic_s()
        return max(self._taken_s - before_s, 1.0)

    def _since(self, name: str, total: int) -> int:
        """What was counted since the last time; a process that began anew counts from 0."""
        before, self._counted[name] = self._counted.get(name, 0), total
        return max(0, total - before)


def _share(part: float) -> Measure:
    return Measure(round(part * _PERCENT, 1), "Percent")


def _full(folder: Path) -> float:
    """The used part of what a process without privileges may use (statvfs(3))."""
    disk = os.statvfs(folder)
    used = disk.f_blocks - disk.f_bfree
    return used / (used + disk.f_bavail)
