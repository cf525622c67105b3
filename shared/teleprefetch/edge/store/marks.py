"""When each series was last read by somebody, told between processes without the index.

A mark is the time of an empty file: a hit must neither wait for the index's lock nor for a disk.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_AS_GOOD_AS_NOW_S: Final = 5.0


class ReadMarks:
    """The marks in a directory, by the name of the segment.

    Args:
        directory: theirs alone.
        clock_s: seconds since the epoch.
    """

    def __init__(self, directory: Path, *, clock_s: Callable[[], float] = time.time) -> None:
        self._directory = str(directory)
        self._clock_s = clock_s
        self._marked: dict[str, float] = {}

    def mark(self, segment: str) -> None:
        """Say that a series is read now; a disk that refuses is not worth an error to a reader."""
        now_s = self._clock_s()
        if now_s - self._marked.get(segment, 0.0) < _AS_GOOD_AS_NOW_S:
            return
        self._marked[segment] = now_s
        path = f"{self._directory}/{segment}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.utime(path, (now_s, now_s))
        except OSError:
            self._marked.pop(segment, None)

    def last_read_s(self, segment: str) -> float | None:
        """When a series was read last, in seconds since the epoch; None: never."""
        try:
            return os.stat(f"{self._directory}/{segment}").st_mtime  # noqa: PTH116  # ten thousand
        except FileNotFoundError:
            return None

    def forget(self, segment: str) -> None:
        """Drop the mark of a segment that goes."""
        self._marked.pop(segment, None)
        Path(self._directory, segment).unlink(missing_ok=True)

    def sweep(self, held: set[str]) -> None:
        """Drop the marks of segments that are not held any more."""
        for name in os.listdir(self._directory):  # noqa: PTH208  # names alone
            if name not in held:
                self.forget(name)
