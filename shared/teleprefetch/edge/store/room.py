"""How much the store may take on the disk, and what is kept back for a full one."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar

from teleprefetch.edge.store.disk import CLOSED, disk_errors, lock_file
from teleprefetch.edge.store.store_files import private_directory
from teleprefetch.errors import NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)
_BALLAST_BYTES: Final = 1 << 20
_MOST_AHEAD_BYTES: Final = 4 << 20
_INDEX_GROWTH_BYTES: Final = 128 << 10  # by the commits of what is being written
T = TypeVar("T")


class Reservations:
    """What each process that shares the store is about to write, told by the size of a file.

    The file is empty whatever its size, and locked as long as its process lives.
    """

    def __init__(self, directory: Path) -> None:
        private_directory(directory)
        self._directory = directory
        self._own = directory / token_hex(8)
        with disk_errors():
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.own_bytes = 0

    def close(self) -> None:
        """Reserve nothing any more."""
        self._own.unlink(missing_ok=True)
        descriptors = (self._descriptor, self._lock)
        self._descriptor = self._lock = CLOSED
        for descriptor in descriptors:
            os.close(descriptor)

    def reserve(self, total_bytes: int) -> None:
        """Reserve so much in all."""
        with disk_errors():
            os.ftruncate(self._descriptor, total_bytes)
        self.own_bytes = total_bytes

    @contextmanager
    def alone(self) -> Iterator[int]:
        """What the others reserve; nobody may reserve more meanwhile."""
        lock_file(self._lock)
        try:
            with disk_errors():
                yield sum(map(self._reserved_by, self._directory.iterdir()))
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _reserved_by(self, path: Path) -> int:
        if path == self._own or path.name == "lock":
            return 0
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.fstat(descriptor).st_size
        else:
            path.unlink(missing_ok=True)  # its process is dead
            return 0
        finally:
            os.close(descriptor)


class Room:
    """Keeps the store below its limit, whatever other processes write at the same time.

    Args:
        limit_bytes: the limit.
        reservations: what this and other processes are about to write.
        held_bytes: what the store takes, without what is not published yet.
        unpublished_bytes: what this process has written and not published yet.
        evict: drops the least useful series; False if there is none that may go.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        reservations: Reservations,
        held_bytes: Callable[[], int],
        unpublished_bytes: Callable[[], int],
        evict: Callable[[], bool],
    ) -> None:
        self._limit_bytes = limit_bytes
        self._ahead_bytes = min(_MOST_AHEAD_BYTES, limit_bytes // 64)
        self._reservations = reservations
        self._held_bytes = held_bytes
        self._unpublished_bytes = unpublished_bytes
        self._evict = evict
        self._lock = threading.Lock()
        self._in_flight_bytes = 0

    @contextmanager
    def reserved(self, needed_bytes: int) -> Iterator[None]:
        """Room for a write, for as long as it takes.

        Raises:
            NodeUnavailableError: the limit is reached and nothing may be evicted.
        """
        with self._lock:
            wanted_bytes = self._wanted_bytes + needed_bytes
            if wanted_bytes > self._reservations.own_bytes:
                self._grow(wanted_bytes)
            self._in_flight_bytes += needed_bytes
        try:
            yield
        finally:
            with self._lock:
                self._in_flight_bytes -= needed_bytes
                if self._wanted_bytes + 2 * self._ahead_bytes < self._reservations.own_bytes:
                    self._reservations.reserve(self._wanted_bytes + self._ahead_bytes)

    @property
    def _wanted_bytes(self) -> int:
        return self._in_flight_bytes + self._unpublished_bytes()

    def _grow(self, wanted_bytes: int) -> None:
        with self._reservations.alone() as others_bytes:
            # What others publish now moves from their reservation to what is held: it is counted
            # twice for a moment, and never not at all.
            most_bytes = self._limit_bytes - _INDEX_GROWTH_BYTES - others_bytes
            free_bytes = most_bytes - self._held_bytes()
            while wanted_bytes > free_bytes:
                if not self._evict():
                    raise NodeUnavailableError("store is full")
                free_bytes = most_bytes - self._held_bytes()
            self._reservations.reserve(min(wanted_bytes + self._ahead_bytes, free_bytes))


class Ballast:
    """Some bytes kept back, so that a purge can be written down when the disk is full.

    SQLite can neither delete nor insert without room for its log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_there(self) -> bool:
        """True if bytes are kept back now."""
        return self._path.exists()

    @property
    def size_bytes(self) -> int:
        """How many bytes are kept back now."""
        return _BALLAST_BYTES if self.is_there else 0

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
        """What `work` answers; if a full disk refuses it, once more with the bytes given up.

        Raises:
            NodeUnavailableError: refused again, or for another reason.
        """
        try:
            return work()
        except NodeUnavailableError:
            if not self._disk_is_full():
                raise
            _LOG.warning("store: the disk refused a write; giving up the bytes kept back")
            self._path.unlink(missing_ok=True)
            answer = work()
        self.restore()
        return answer

    def _disk_is_full(self) -> bool:
        with disk_errors():
            disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize < _BALLAST_BYTES
