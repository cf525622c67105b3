"""Answers that wait until their records are durable.

Records go to the audit together, and come back together: to make a few durable takes as long, and
as much of the processor, as one. So while more requests come, those there are wait for a moment.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from teleprefetch.edge.access.entries import Lines
from teleprefetch.edge.audit.log import Line
from teleprefetch.edge.http.forming import borrow, give_back
from teleprefetch.edge.http.remembered import Outgoing
from teleprefetch.errors import PrefetchError

_MOST_TURNS: Final = 4


class Answered(NamedTuple):
    """An answer, and where it came from."""

    outgoing: Outgoing
    source: str


Told = Callable[[Answered], None]
_Posted = list[tuple[Answered, Told]]


class Outbox:
    """Holds answers back; for the event loop's thread.

    Args:
        lines: where records go.
        denied: the answer instead of one that cannot be recorded.
        guests: how many clients there are: once all of them wait, nobody can ask for more.
    """

    def __init__(
        self, lines: Lines, denied: Callable[[], Answered], *, guests: Callable[[], int]
    ) -> None:
        self._lines = lines
        self._denied = denied
        self._guests = guests
        self._loop = asyncio.get_running_loop()
        self._records: list[Line] = []
        self._posted: _Posted = []
        self._seen = self._turns = 0
        self._ready: deque[tuple[_Posted, PrefetchError | None]] = deque()

    def post(self, line: Line, answered: Answered, told: Told) -> None:
        """Call `told` with an answer once its record is durable; its files stay open."""
        borrow(answered.outgoing)
        if not self._posted:
            self._loop.call_soon(self._gather)
        self._records.append(line)
        self._posted.append((answered, told))

    def _gather(self) -> None:
        """Let clients have the processor, if they want it, as long as that brings requests."""
        posted = len(self._posted)
        if self._seen < posted < self._guests() and self._turns < _MOST_TURNS:
            self._seen = posted
            self._turns += 1
            os.sched_yield()
            self._loop.call_soon(self._gather)
        else:
            self._seen = self._turns = 0
            self._send()

    def _send(self) -> None:
        records, self._records = self._records, []
        posted, self._posted = self._posted, []
        try:
            if self._lines.write_now(records):
                self._tell(posted, None)
            else:
                self._lines.submit_all(records, partial(self._durable, posted))
        except PrefetchError as error:
            self._tell(posted, error)

    def _durable(self, posted: _Posted, error: PrefetchError | None) -> None:
        """Runs in the audit's thread."""
        self._ready.append((posted, error))
        with suppress(RuntimeError):  # the loop has closed meanwhile, and nobody waits any more
            self._loop.call_soon_threadsafe(self._tell_ready)

    def _tell_ready(self) -> None:
        while self._ready:
            self._tell(*self._ready.popleft())

    def _tell(self, posted: _Posted, error: PrefetchError | None) -> None:
        for answered, told in posted:
            told(answered if error is None else self._denied())
            give_back(answered.outgoing)
