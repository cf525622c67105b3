"""Segment files: the frames of one version of a series, appended one after the other.

A file starts with a header (magic, format, key). Each frame is a record: mark, name, length and
SHA-256, then the bytes. What is in the file counts only once the index says so: a crash leaves a
tail that nobody refers to, and the next start cuts it.
"""

import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleprefetch.errors import NodeUnavailableError

FORMAT: Final = 1
_MAGIC: Final = b"TPSEG"
_MARK: Final = b"FRAM"
_HEADER: Final = struct.Struct(">5sBH")
_RECORD: Final = struct.Struct(">4sHQ32s")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what the operating system says of the disk into NodeUnavailableError."""
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno in _NO_ROOM else "the disk failed"
        raise NodeUnavailableError(f"store: {what}") from error


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a frame's bytes lie in a segment, and their SHA-256 in hexadecimal."""

    offset: int
    length_bytes: int
    sha256: str


class Segment:
    """A segment opened for writing; one at a time in all processes (flock)."""

    def __init__(self, descriptor: int, *, end_bytes: int) -> None:
        self._descriptor = descriptor
        self.end_bytes = end_bytes

    @classmethod
    def open(cls, path: Path, *, key: bytes, committed_bytes: Callable[[], int]) -> "Segment":
        """Open or begin a segment, without what lies after its last commit.

        `committed_bytes` is asked once the file is locked, so that nobody commits in between.

        Raises:
            NodeUnavailableError: the disk refuses, or another process writes this segment.
        """
        with disk_errors():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end_bytes = _begin(descriptor, path, key, committed_bytes())
            except BaseException:
                os.close(descriptor)
                raise
        return cls(descriptor, end_bytes=end_bytes)

    def append(self, name: bytes, content: bytes) -> Appended:
        """Write one frame after the others; it is not synced yet.

        Raises:
            NodeUnavailableError: the disk refuses; the next record takes the same place.
        """
        digest = hashlib.sha256(content)
        record = _RECORD.pack(_MARK, len(name), len(content), digest.digest())
        with disk_errors():
            _write_all(self._descriptor, (record + name, content), self.end_bytes)
        offset = self.end_bytes + len(record) + len(name)
        self.end_bytes = offset + len(content)
        return Appended(offset=offset, length_bytes=len(content), sha256=digest.hexdigest())

    def sync(self) -> None:
        """Returns when everything appended is on the disk."""
        with disk_errors():
            os.fdatasync(self._descriptor)

    def close(self, *, keep_bytes: int) -> None:
        """Give the file up, and with it the lock; what lies beyond `keep_bytes` is cut off."""
        try:
            if self.end_bytes > keep_bytes:
                with disk_errors():
                    os.ftruncate(self._descriptor, keep_bytes)
        finally:
            os.close(self._descriptor)


def record_bytes(name: bytes, content: bytes) -> int:
    """How many bytes a frame takes in a segment."""
    return _RECORD.size + len(name) + len(content)


def belongs(path: Path, *, key: bytes) -> bool:
    """Tell whether a file is a segment of this format and of this key."""
    expected = _header(key)
    try:
        with path.open("rb") as file:
            return file.read(len(expected)) == expected
    except FileNotFoundError:
        return False


def cut_tail(path: Path, *, committed_bytes: int) -> int:
    """Cut what lies after the last commit; how many bytes. A segment in use is left alone."""
    with disk_errors(), _alone_with(path) as descriptor:
        if descriptor is None:
            return 0
        tail = os.fstat(descriptor).st_size - committed_bytes
        if tail > 0:
            os.ftruncate(descriptor, committed_bytes)
        return max(tail, 0)


def remove_orphan(path: Path) -> bool:
    """Unlink a segment that nobody refers to, unless a process is writing it."""
    with disk_errors(), _alone_with(path) as descriptor:
        if descriptor is None:
            return False
        path.unlink(missing_ok=True)
        return True


@contextmanager
def _alone_with(path: Path) -> Iterator[int | None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _header(key: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, FORMAT, len(key)) + key


def _begin(descriptor: int, path: Path, key: bytes, committed_bytes: int) -> int:
    header = _header(key)
    if committed_bytes == 0:
        os.ftruncate(descriptor, 0)
        _write_all(descriptor, (header,), 0)
        _sync_directory(path.parent)
        return len(header)
    # A file cut short by someone else keeps its committed length: what the index refers to is
    # then read as wrong bytes and dropped, and is never overwritten by other frames.
    os.ftruncate(descriptor, committed_bytes)
    return committed_bytes


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, parts: tuple[bytes, ...], offset: int) -> None:
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.pwritev(descriptor, left, offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
