"""The access log: one JSON line for each answer; counts and times, nothing of whom or what."""

import os
import time
from typing import Final, NamedTuple

_MOST_WAITING: Final = 50_000


class Note(NamedTuple):
    """One answer, for the log and the counters; `source` is memory, store or origin."""

    status: int
    length_bytes: int
    duration_us: int
    kind: str
    source: str


class AccessLog:
    """Lines are gathered in memory and written in groups.

    Args:
        descriptor: where they are written; None writes none.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []

    def note(self, notes: list[Note]) -> int:
        """Take down some answers, as of now; how many there was no room for."""
        if self._descriptor is None:
            return 0
        room = max(0, _MOST_WAITING - len(self._lines))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        start = f'{{"at":"{at}","level":"INFO","from":"access",'
        self._lines += [
            f'{start}"kind":"{note.kind}","status":{note.status},"bytes":{note.length_bytes},'
            f'"us":{note.duration_us},"source":"{note.source}"}}\n'
            for note in notes[:room]
        ]
        return max(0, len(notes) - room)

    def take(self) -> list[str]:
        """What waits to be written; it does not wait here any more."""
        lines, self._lines = self._lines, []
        return lines

    def write(self, lines: list[str]) -> None:
        """Write lines; may wait for the disk, or for who reads a pipe.

        Raises:
            OSError: they cannot be written.
        """
        if self._descriptor is None:
            return
        view = memoryview("".join(lines).encode())
        while view:
            view = view[os.write(self._descriptor, view) :]
