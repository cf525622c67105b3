"""Files that are being sent: descriptors that stay open, and what is known of their state."""

import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Final

_MOST_OPEN: Final = 512
_READ_BYTES: Final = 1 << 20
_ANY_BYTE: Final = [bytearray(1)]  # what is read is of no interest
FileState = tuple[int, int, int, int, int]


class Descriptor:
    """An open file; it stays open while somebody sends from it.

    `opened_ns` is when its state was taken, by the monotonic clock.
    """

    __slots__ = ("_is_dropped", "_state", "_users", "number", "opened_ns")

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._state = _state_of(os.fstat(self.number))
        self.opened_ns = time.monotonic_ns()
        self._users = 0
        self._is_dropped = False

    @property
    def is_as_opened(self) -> bool:
        """True while the file is linked and has not been written to since it was opened.

        A purge unlinks before it does anything else, so that this is false when it ends.
        """
        if self._is_dropped:
            return False
        stat = os.fstat(self.number)
        return stat.st_nlink > 0 and _state_of(stat) == self._state

    def borrow(self) -> None:
        """Keep it open until it is given back."""
        self._users += 1

    def give_back(self) -> None:
        """Undo one `borrow`."""
        self._users -= 1
        self._close_if_unused()

    def drop(self) -> None:
        """Close it when the last who borrowed it has given it back."""
        self._is_dropped = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_dropped and self._users == 0 and self.number >= 0:
            os.close(self.number)
            self.number = -1


class Descriptors:
    """The files that were sent from last, open; for one thread."""

    def __init__(self, most: int = _MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Path, Descriptor] = OrderedDict()

    def of(self, path: Path) -> Descriptor:
        """A descriptor of the file as it is now.

        Raises:
            OSError: it is gone, or cannot be opened.
        """
        held = self._open.get(path)
        if held is not None:
            if held.is_as_opened:
                self._open.move_to_end(path)
                return held
            del self._open[path]
            held.drop()
        fresh = self._open[path] = Descriptor(path)
        if len(self._open) > self._most:
            self._open.popitem(last=False)[1].drop()
        return fresh

    def sweep(self) -> None:
        """Close what was unlinked: an open descriptor would keep its bytes on the disk."""
        for path, held in list(self._open.items()):
            if not held.is_as_opened:
                del self._open[path]
                held.drop()

    def close(self) -> None:
        """Close all."""
        for held in self._open.values():
            held.drop()
        self._open.clear()


def is_in_memory(descriptor: int, offset: int, length_bytes: int) -> bool:
    """Tell whether a piece of a file can be sent without waiting for the disk, by its last byte."""
    try:
        os.preadv(descriptor, _ANY_BYTE, offset + length_bytes - 1, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system that cannot tell
    return True


def read_ahead(descriptor: int, offset: int, length_bytes: int) -> None:
    """Bring a piece of a file into memory; waits for the disk.

    Raises:
        OSError: the disk cannot be read.
    """
    buffer = memoryview(bytearray(min(_READ_BYTES, length_bytes)))
    end = offset + length_bytes
    while offset < end:
        count = os.preadv(descriptor, [buffer[: end - offset]], offset)
        if count == 0:
            return
        offset += count


def _state_of(stat: os.stat_result) -> FileState:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
