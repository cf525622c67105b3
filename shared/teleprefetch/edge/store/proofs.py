"""Which frames' bytes were read back from the disk and matched their SHA-256."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.read_back import digests_on_disk
from teleprefetch.edge.store.rows import FrameName, HeldFrame, Piece

_File = tuple[int, int]
_State = tuple[int, int]
_NOT_APPENDED_TO: Final = nullcontext()


class Proofs:
    """Remembers, for this process, what matched in which state of which file.

    A file's state is (size, mtime_ns) under (device, inode): a file that was written to since is
    read again, unless it was by our own appending, which leaves alone what was there. The sum over
    a frame costs a third of serving it, so it is made once per state.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proven: dict[_File, tuple[_State, set[int]]] = {}
        self._appending: dict[_File, threading.Lock] = {}

    def matching(self, path: Path, frames: list[HeldFrame]) -> set[FrameName]:
        """The names of those frames whose bytes match; none if there is no such file.

        Raises:
            OSError: the disk cannot be read.
        """
        try:
            known = self._known(path)
            unknown = [frame for frame in frames if frame.offset not in known]
            if not unknown:
                return {frame.name for frame in frames}
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return set()
        try:
            failed = _not_matching(descriptor, unknown)
        finally:
            os.close(descriptor)
        known.update(frame.offset for frame in unknown if frame.offset not in failed)
        return {frame.name for frame in frames if frame.offset not in failed}

    def proves(self, path: Path, piece: Piece) -> bool:
        """Tell whether the bytes of a piece match; raises as `matching` does."""
        whole = HeldFrame("", 0, piece.offset, piece.length_bytes, "", piece.sha256)
        return bool(self.matching(path, [whole]))

    def count(self, path: Path, frames: list[HeldFrame]) -> int:
        """How many of the frames are proven already; nothing is read for it."""
        try:
            known = self._known(path)
        except FileNotFoundError:
            return 0
        return sum(frame.offset in known for frame in frames)

    def forget(self, stat: os.stat_result) -> None:
        """Drop what is known of a file that goes."""
        with self._lock:
            self._proven.pop((stat.st_dev, stat.st_ino), None)
            self._appending.pop((stat.st_dev, stat.st_ino), None)

    @contextmanager
    def appending(self, path: Path) -> Iterator[None]:
        """Around an append of this process: what is proven of the file stays proven.

        Raises:
            OSError: the file cannot be looked at; that it is gone is no error.
        """
        before = _looked_at(path)
        if before is None:
            yield
            return
        file = _file_of(before)
        with self._lock:
            alone = self._appending.setdefault(file, threading.Lock())
        with alone:
            before = _looked_at(path)
            yield
            after = _looked_at(path)
            with self._lock:
                state, offsets = self._proven.get(file, (None, set()))
                if before and after and state == _state_of(before):
                    self._proven[file] = (_state_of(after), offsets)

    def _known(self, path: Path) -> set[int]:
        """The offsets that are proven of a file in its state now; what is added is proven too."""
        file = _file_of(path.stat())
        with self._lock:
            alone: AbstractContextManager[object] = self._appending.get(file, _NOT_APPENDED_TO)
        with alone, self._lock:
            now = _state_of(path.stat())
            state, offsets = self._proven.get(file, (None, set()))
            if state != now:
                offsets = set()
                self._proven[file] = (now, offsets)
            return offsets


def _looked_at(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _file_of(stat: os.stat_result) -> _File:
    return stat.st_dev, stat.st_ino


def _state_of(stat: os.stat_result) -> _State:
    return stat.st_size, stat.st_mtime_ns


def _not_matching(descriptor: int, frames: list[HeldFrame]) -> set[int]:
    """The offsets of those frames whose bytes on the disk are others."""
    ordered = sorted(frames, key=lambda frame: frame.offset)
    ranges = [(frame.offset, frame.length_bytes) for frame in ordered]
    digests = zip(ordered, digests_on_disk(descriptor, ranges), strict=True)
    return {frame.offset for frame, digest in digests if digest != frame.sha256}
