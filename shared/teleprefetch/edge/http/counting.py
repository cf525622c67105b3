"""Counts answers, and has the access log written."""

import logging
import time
from functools import partial
from typing import Any, Final

from teleprefetch.edge.http.pools import Pool
from teleprefetch.edge.http.remembered import Outgoing
from teleprefetch.edge.watching.access import AccessLog, Note
from teleprefetch.edge.watching.board import Board, Figure

_LOG: Final = logging.getLogger(__name__)
_NOTES_AT_ONCE: Final = 64


class Counting:
    """The counters and the access log of one process; for the event loop's thread."""

    def __init__(self, board: Board, log: AccessLog) -> None:
        self.board = board
        self._log = log
        self._notes: list[Note] = []

    def note(
        self, outgoing: Outgoing, source: str, *, began_ns: int, sent_bytes: int, is_whole: bool
    ) -> None:
        """Take down an answer that was sent, or given up."""
        if not is_whole:
            self.board.add(Figure.ANSWERS_CUT)
        duration_us = (time.monotonic_ns() - began_ns) // 1000
        self._notes.append(Note(outgoing.status, sent_bytes, duration_us, outgoing.kind, source))
        if len(self._notes) >= _NOTES_AT_ONCE:
            self.count()

    def count(self) -> None:
        """Hand what was taken down to the counters and the log."""
        notes, self._notes = self._notes, []
        if notes:
            self.board.answered(notes)
            self.board.add(Figure.LOG_LINES_DROPPED, self._log.note(notes))

    def sweep(self, pool: Pool) -> None:
        """Have what waits written by a thread."""
        self.count()
        self.board.measure_memory()
        lines = self._log.take()
        if lines and not pool.submit(partial(self._log.write, lines), self._written):
            self.board.add(Figure.LOG_LINES_DROPPED, len(lines))

    def close(self) -> None:
        """Write the rest of the log."""
        self.count()
        self._log.write(self._log.take())

    def _written(self, _answer: Any, failure: BaseException | None) -> None:
        if failure is not None:
            _LOG.warning("the access log cannot be written: %s", type(failure).__name__)
