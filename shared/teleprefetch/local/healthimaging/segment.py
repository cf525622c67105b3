"""One append-only file for everything that was imported: frames, headers and metadata."""

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Extent:
    """Where bytes are in the segment."""

    offset: int
    length: int


class Segment:
    """An unnamed temporary file that is only appended to.

    The page cache makes it memory as long as there is some. What a deleted image set took is not
    given back before the segment closes: the file holds all that was ever imported, and the disk
    below `directory` is its bound.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - lives until close()
        self._lock = threading.Lock()
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def length_bytes(self) -> int:
        """All that was ever appended."""
        return self._length

    def append(self, content: bytes) -> Extent:
        """Write at the end; where it went."""
        with self._lock:
            extent = Extent(self._length, len(content))
            self._length += len(content)
        view = memoryview(content)
        written = 0
        while written < len(content):
            written += os.pwrite(self._file.fileno(), view[written:], extent.offset + written)
        return extent

    def read(self, extent: Extent) -> bytes:
        """The bytes of an extent."""
        return os.pread(self._file.fileno(), extent.length, extent.offset)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
