"""How much the store may take on the disk, and what is kept back for a full one."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from teleprefetch.edge.segments import disk_errors
from teleprefetch.errors import NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)
_BALLAST_BYTES: Final = 1 << 20
T = TypeVar("T")


def private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter; raises NodeUnavailableError."""
    with disk_errors():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)


class Room:
    """Keeps the store below its limit, reservations for writes in flight included.

    Args:
        limit_bytes: the limit.
        used_bytes: what the store takes now.
        evict: drops the oldest series that nobody uses; False if there is none.
    """

    def __init__(
        self, limit_bytes: int, *, used_bytes: Callable[[], int], evict: Callable[[], bool]
    ) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = used_bytes
        self._evict = evict
        self._lock = threading.Lock()
        self._reserved_bytes = 0

    @contextmanager
    def reserved(self, needed_bytes: int) -> Iterator[None]:
        """Room for a write, for as long as it takes.

        Raises:
            NodeUnavailableError: the limit is reached and nothing may be evicted.
        """
        with self._lock:
            while self._used_bytes() + self._reserved_bytes + needed_bytes > self._limit_bytes:
                if not self._evict():
                    raise NodeUnavailableError("store is full")
            self._reserved_bytes += needed_bytes
        try:
            yield
        finally:
            with self._lock:
                self._reserved_bytes -= needed_bytes


class Ballast:
    """Some bytes kept back, so that a purge can be written down when the disk is full.

    SQLite can neither delete nor insert without room for its log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def size_bytes(self) -> int:
        """How many bytes are kept back now."""
        return _BALLAST_BYTES if self._path.exists() else 0

    def restore(self) -> None:
        """Keep the bytes back (again); on a full disk there is nothing to keep."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            _LOG.warning("store: no room to keep bytes back (errno %s)", error.errno)

    def dropped_if_needed(self, work: Callable[[], T]) -> T:
        """What `work` answers; if the disk refuses it, once more with the bytes given up.

        Raises:
            NodeUnavailableError: refused again.
        """
        try:
            return work()
        except NodeUnavailableError:
            _LOG.warning("store: the disk refused a write; giving up the bytes kept back")
            self._path.unlink(missing_ok=True)
            answer = work()
        self.restore()
        return answer
