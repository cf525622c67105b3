"""One number in memory that all processes share: does the index hold anything new?

Asking SQLite costs 25 us, which a hit should not pay. The number is odd while a change is being
committed, and stays odd if its writer dies: a reader that sees an odd one asks SQLite.
"""

import mmap
import os
from pathlib import Path
from typing import Final

_SIZE_BYTES: Final = mmap.PAGESIZE


class Generation:
    """The number; written by one at a time (the index's write lock), read by anybody."""

    def __init__(self, path: Path) -> None:
        self._memory = _mapped(path)
        self._number = memoryview(self._memory)[:8].cast("Q") if self._memory else None

    @property
    def settled(self) -> int | None:
        """A number that says that nothing has changed as long as it is the same; None: ask."""
        if self._number is None:
            return None
        number = self._number[0]
        return None if number & 1 else number

    def begin(self) -> None:
        """Say that a change is being committed."""
        if self._number is not None:
            self._number[0] = (self._number[0] | 1) + 2 & (1 << 64) - 1

    def end(self) -> None:
        """Say that it is committed, or is not going to be."""
        if self._number is not None:
            self._number[0] = (self._number[0] | 1) + 1 & (1 << 64) - 1

    def close(self) -> None:
        """Give the memory back."""
        if self._number is not None and self._memory is not None:
            self._number.release()
            self._number = None
            self._memory.close()


def _mapped(path: Path) -> mmap.mmap | None:
    """The page of the file; None if the disk has no room for it, and then SQLite is asked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A page without its block would be a fatal signal when it is written on a full disk.
            os.posix_fallocate(descriptor, 0, _SIZE_BYTES)
            return mmap.mmap(descriptor, _SIZE_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return None
