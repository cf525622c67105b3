"""Files on the disk: written, synced and locked; what the system says becomes our error."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from teleprefetch.errors import NodeUnavailableError

CLOSED: Final = -1
"""A descriptor that no file ever has."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what the operating system says of the disk into NodeUnavailableError."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        what = "the disk is full" if error.errno in _NO_ROOM else f"the disk failed ({name})"
        raise NodeUnavailableError(f"store: {what}") from error


def lock_file(descriptor: int, *, wait: bool = True) -> None:
    """Lock a file for this descriptor alone (flock).

    Raises:
        BlockingIOError: it is locked, and is not to be waited for.
        NodeUnavailableError: it is closed.
    """
    if descriptor == CLOSED:
        raise NodeUnavailableError("store: closed")
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def alone_with(path: Path) -> Iterator[int | None]:
    """A locked descriptor of a file that no process writes now; None if one does, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            lock_file(descriptor, wait=False)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Returns when the names in a directory are on the disk."""
    with disk_errors():
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and return when its bytes are on the disk (its name is not, perhaps).

    Raises:
        NodeUnavailableError: the disk refuses; nothing is left of the file.
    """
    with disk_errors():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            write_all(descriptor, (content,), 0)
            os.fdatasync(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def write_all(descriptor: int, parts: tuple[bytes, ...], offset: int) -> None:
    """Write all parts one after the other; raises OSError."""
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.pwritev(descriptor, left, offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
