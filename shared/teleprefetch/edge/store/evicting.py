"""Gives up the least useful series when room is short; what is waited for or in use stays."""

import logging
from collections.abc import Callable
from typing import Final

from teleprefetch.edge.store.counters import Counters
from teleprefetch.edge.store.disk import alone_with
from teleprefetch.edge.store.index import Index
from teleprefetch.edge.store.rows import SeriesRow, lineage_of
from teleprefetch.edge.store.store_files import Files
from teleprefetch.edge.store.usefulness import is_pinned, usefulness
from teleprefetch.errors import NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)


class Evictor:
    """Chooses and drops series of one store.

    Args:
        index: what is held, and what plans want of it.
        files: the files, superseded ones too.
        counters: counts.
        in_use: tells whether this process uses a series (by key) now.
        discard: drops a series; how many bytes that freed.
        clock_s: seconds since the epoch.
    """

    def __init__(
        self,
        index: Index,
        files: Files,
        *,
        counters: Counters,
        in_use: Callable[[str], bool],
        discard: Callable[[SeriesRow], int],
        clock_s: Callable[[], float],
    ) -> None:
        self._index = index
        self._files = files
        self._counters = counters
        self._in_use = in_use
        self._discard = discard
        self._clock_s = clock_s

    def evict(self) -> bool:
        """Make some room; False if nothing may go.

        Raises:
            NodeUnavailableError: the index cannot be written.
        """
        if self._files.remove_superseded():
            return True
        self._index.refresh()
        return any(self._drop(row) for row in self._candidates())

    def _candidates(self) -> list[SeriesRow]:
        now_s, wanted = self._clock_s(), self._index.copy.wanted()
        worths: list[tuple[float, float, SeriesRow]] = []
        for row in [*self._index.copy.rows.values()]:
            want = wanted.get(lineage_of(row.key))
            read_s = self._files.marks.last_read_s(row.segment)
            if self._in_use(row.key) or is_pinned(want, last_read_s=read_s, now_s=now_s):
                continue
            worth = usefulness(want, last_read_s=read_s, stored_at_s=row.stored_at, now_s=now_s)
            worths.append((worth, row.stored_at, row))
        return [row for _, _, row in sorted(worths, key=lambda one: one[:2])]

    def _drop(self, row: SeriesRow) -> bool:
        with alone_with(self._files.segment(row.segment)) as descriptor:
            if descriptor is None and self._files.segment(row.segment).exists():
                return False  # another process writes it
            try:
                freed = self._discard(row)
            except NodeUnavailableError:
                _LOG.warning("store: an evicted series' row could not be removed yet")
                raise
        self._counters.add("evictions")
        self._counters.add("evicted_bytes", freed)
        _LOG.info("store: the least useful series was evicted: %d bytes", freed)
        return True
