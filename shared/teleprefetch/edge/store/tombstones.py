"""What was deleted or outdated, in a file of its own: a purge is written down on a full disk too.

SQLite needs room for every change. This file's room is taken when it is made: fixed records are
written into it, each behind a CRC-32, and read by all processes through shared memory.
"""

import fcntl
import logging
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.disk import CLOSED, disk_errors, lock_file

_LOG: Final = logging.getLogger(__name__)
_RECORD: Final = struct.Struct(">I4s20sQd")
_MAGIC: Final = b"TMB1"
_SIZE: Final = 64
_FIRST_RECORDS: Final = 2048
# Longer than any redelivery: queues keep an event for days, and Step Functions redrives executions
# for 14 days ("Redriving executions" in the Step Functions developer guide).
_KEPT_S: Final = 30 * 86_400.0
_DELETED: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """All versions of a lineage below one are gone for good; None: all."""

    lineage: str
    below_version: int | None
    at_s: float

    def covers(self, version: int) -> bool:
        """Tell whether a version is gone."""
        return self.below_version is None or version < self.below_version


class Tombstones:
    """The tombstones of a store; shared by threads and processes.

    Args:
        path: the file.
        clock_s: seconds since the epoch.

    Raises:
        NodeUnavailableError: the file is not there yet, and there is no room for it.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock_s = clock_s
        self._lock = threading.RLock()
        self._known: dict[str, Tombstone] = {}
        self._descriptor: int = CLOSED
        self._memory: mmap.mmap
        self._open()

    def close(self) -> None:
        """Give the file up."""
        descriptor, self._descriptor = self._descriptor, CLOSED
        self._memory.close()
        if descriptor != CLOSED:
            os.close(descriptor)

    def of(self, lineage: str) -> Tombstone | None:
        """The tombstone of a lineage, whoever wrote it."""
        self.refresh()
        return self._known.get(lineage)

    def covers(self, lineage: str, version: int) -> bool:
        """Tell whether a version is gone for good."""
        tombstone = self.of(lineage)
        return tombstone is not None and tombstone.covers(version)

    def refresh(self) -> int:
        """How many records were ever read; more than before if somebody added one."""
        with self._lock:
            if self._memory[:4] == b"MOVE":
                self.close()
                self._open()
            while (found := self._record_at(self._read)) is not None:
                self._remember(found)
                self._read += 1
            return self._read

    def add(self, lineage: str, below_version: int | None) -> None:
        """Returns when the tombstone is on the disk, and seen by all processes.

        Raises:
            NodeUnavailableError: the disk fails, or the file is full and cannot grow.
        """
        tombstone = Tombstone(lineage, below_version, self._clock_s())
        with self._lock, self._alone():
            self.refresh()
            if (self._read + 1) * _SIZE > len(self._memory):
                self._rewrite()
            with disk_errors():
                os.pwrite(self._descriptor, _packed(tombstone), self._read * _SIZE)
                os.fdatasync(self._descriptor)
            self.refresh()

    def _open(self) -> None:
        with disk_errors():
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                size = os.fstat(self._descriptor).st_size
                if size < _SIZE * 2:
                    size = _SIZE * _FIRST_RECORDS
                    _take_room(self._descriptor, size)
                self._memory = mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ)
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except BaseException:
                descriptor, self._descriptor = self._descriptor, CLOSED
                os.close(descriptor)
                raise
        # What lies before a damaged record is no reason to pass over what lies behind it.
        numbers = range(1, len(self._memory) // _SIZE)
        records = [(number, found) for number in numbers if (found := self._record_at(number))]
        for _, found in records:
            self._remember(found)
        self._read = records[-1][0] + 1 if records else 1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else adds meanwhile; the file may have been rewritten until then."""
        while True:
            self.refresh()
            lock_file(self._descriptor)
            if self._memory[:4] != b"MOVE":
                break
        try:
            yield
        finally:
            if self._descriptor != CLOSED:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _rewrite(self) -> None:
        """A new file with what is still needed, and with room for as much again."""
        oldest_s = self._clock_s() - _KEPT_S
        kept = [one for one in self._known.values() if one.at_s >= oldest_s]
        fresh = self._path.with_name(self._path.name + ".new")
        with disk_errors():
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _take_room(descriptor, _SIZE * max(_FIRST_RECORDS, 2 * len(kept) + 2))
                for number, tombstone in enumerate(kept, 1):
                    os.pwrite(descriptor, _packed(tombstone), number * _SIZE)
                os.fsync(descriptor)
                fresh.rename(self._path)
                os.pwrite(self._descriptor, b"MOVE", 0)
            finally:
                os.close(descriptor)
        _LOG.info("store: %d of %d tombstones were kept", len(kept), len(self._known))
        self._known.clear()
        self.close()
        self._open()
        lock_file(self._descriptor)
        self.refresh()

    def _record_at(self, number: int) -> Tombstone | None:
        record = self._memory[number * _SIZE : (number + 1) * _SIZE]
        if len(record) < _SIZE or record[4:8] != _MAGIC:
            return None
        check, _, name, version, at_s = _RECORD.unpack_from(record)
        if check != zlib.crc32(record[4 : _RECORD.size]):
            # Half a record is a purge that never answered: it comes again, and in this place.
            return None
        return Tombstone(name.hex(), None if version == _DELETED else version, at_s)

    def _remember(self, found: Tombstone) -> None:
        known = self._known.get(found.lineage)
        if known is None or known.below_version is not None:
            below = found.below_version
            if known is not None and known.below_version is not None and below is not None:
                below = max(below, known.below_version)
            self._known[found.lineage] = Tombstone(found.lineage, below, found.at_s)


def _take_room(descriptor: int, size_bytes: int) -> None:
    # Zeros are written, not only announced: some file systems need room to write what was.
    os.pwrite(descriptor, bytes(size_bytes), 0)
    os.fsync(descriptor)


def _packed(tombstone: Tombstone) -> bytes:
    version = _DELETED if tombstone.below_version is None else tombstone.below_version
    body = _RECORD.pack(0, _MAGIC, bytes.fromhex(tombstone.lineage), version, tombstone.at_s)[4:]
    return (struct.pack(">I", zlib.crc32(body)) + body).ljust(_SIZE, b"\0")
