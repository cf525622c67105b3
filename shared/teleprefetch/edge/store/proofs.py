"""Which frames' bytes were read back from the disk and matched their SHA-256."""

import os
import threading
from pathlib import Path

from teleprefetch.edge.store.read_back import digest_on_disk
from teleprefetch.edge.store.rows import FrameName, HeldFrame, Piece

_FileState = tuple[int, int]


class Proofs:
    """Remembers, for this process, what matched in which state of which file.

    A file's state is (size, mtime_ns) under (device, inode): a file that was written to since is
    read again. The sum over a frame costs a third of serving it, so it is made once per state.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proven: dict[tuple[int, int], tuple[_FileState, set[int]]] = {}

    def matching(self, path: Path, frames: list[HeldFrame]) -> set[FrameName]:
        """The names of those frames whose bytes match; none if there is no such file.

        Raises:
            OSError: the disk cannot be read.
        """
        try:
            known = self._known(path.stat())
            if all(frame.offset in known for frame in frames):
                return {frame.name for frame in frames}
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return set()
        try:
            return self._matching(descriptor, frames)
        finally:
            os.close(descriptor)

    def proves(self, path: Path, piece: Piece) -> bool:
        """Tell whether the bytes of a piece match; raises as `matching` does."""
        whole = HeldFrame("", 0, piece.offset, piece.length_bytes, "", piece.sha256)
        return bool(self.matching(path, [whole]))

    def count(self, path: Path, frames: list[HeldFrame]) -> int:
        """How many of the frames are proven already; nothing is read for it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return 0
        known = self._known(stat)
        return sum(frame.offset in known for frame in frames)

    def forget(self, stat: os.stat_result) -> None:
        """Drop what is known of a file that goes."""
        with self._lock:
            self._proven.pop((stat.st_dev, stat.st_ino), None)

    def _matching(self, descriptor: int, frames: list[HeldFrame]) -> set[FrameName]:
        stat = os.fstat(descriptor)
        known = self._known(stat)
        proven = {frame.name for frame in frames if frame.offset in known}
        unknown = [frame for frame in frames if frame.name not in proven]
        matched = [
            frame
            for frame in unknown
            if digest_on_disk(descriptor, frame.offset, frame.length_bytes) == frame.sha256
        ]
        if matched:
            self._learn(stat, {frame.offset for frame in matched})
        return proven | {frame.name for frame in matched}

    def _known(self, stat: os.stat_result) -> set[int]:
        with self._lock:
            state, offsets = self._proven.get((stat.st_dev, stat.st_ino), (None, set()))
            return offsets if state == (stat.st_size, stat.st_mtime_ns) else set()

    def _learn(self, stat: os.stat_result, offsets: set[int]) -> None:
        state = (stat.st_size, stat.st_mtime_ns)
        with self._lock:
            held_state, held = self._proven.get((stat.st_dev, stat.st_ino), (None, set()))
            if held_state == state:
                held.update(offsets)
            else:
                self._proven[(stat.st_dev, stat.st_ino)] = (state, offsets)
