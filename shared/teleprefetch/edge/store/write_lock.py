"""Who may change the index: one thread of one process at a time.

SQLite has such a lock too, but waits for it by looking again and again: under load the one who
looks at the wrong moments waits for ever.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.disk import CLOSED, disk_errors, lock_file
from teleprefetch.errors import NodeUnavailableError

_LOOK_AGAIN_S: Final = 0.001


class WriteLock:
    """A lock between threads, and between processes by a file.

    Args:
        path: the file; made, and empty.
        patience_s: how long to wait.
        sleep: waits.
    """

    def __init__(
        self, path: Path, *, patience_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._patience_s = patience_s
        self._sleep = sleep
        self._lock = threading.Lock()
        with disk_errors():
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Give the file up."""
        descriptor, self._descriptor = self._descriptor, CLOSED
        os.close(descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes the index meanwhile.

        Raises:
            NodeUnavailableError: somebody else did for too long.
        """
        if not self._lock.acquire(timeout=self._patience_s):
            raise NodeUnavailableError("store: the index is in use for too long")
        try:
            self._take_file()
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def _take_file(self) -> None:
        ends_s = time.monotonic() + self._patience_s
        while True:
            try:
                lock_file(self._descriptor, wait=False)
            except BlockingIOError:
                if time.monotonic() >= ends_s:
                    raise NodeUnavailableError("store: the index is in use for too long") from None
                self._sleep(_LOOK_AGAIN_S)
            else:
                return
