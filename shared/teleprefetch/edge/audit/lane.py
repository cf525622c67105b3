"""One lane on disk: segments of lines, appended to by the one process that holds its lock.

Each process of a node writes a lane of its own (`serve-0`, `serve-1`, `worker`): a chain shared by
processes would need the last hash under a lock between them for every record, and could not sync
once for a group. A lane goes on where it ended, over restarts and segments.

Room is made ahead, by zeros: a record that changes neither the length of its file nor the blocks it
has is synced without the file system's journal, in half the time. Zeros at the end are no records.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.entry import Chain
from teleprefetch.edge.audit.tail import read_tail
from teleprefetch.errors import NodeUnavailableError

SUFFIX: Final = ".jsonl"
RESERVE_BYTES: Final = 64 * 1024
_SEGMENT_BYTES: Final = 32 << 20
_ROOM_BYTES: Final = 1 << 20
_MODE: Final = 0o600


class Lane:
    """A lane, open for appending; `tail` tells how it was found.

    Args:
        folder: of all lanes of the node.
        node: whose records these are.
        name: of the lane.
        segment_bytes: a new segment is begun beyond this.

    Raises:
        NodeUnavailableError: another process writes the lane, or it cannot be opened.
    """

    def __init__(
        self, folder: Path, *, node: str, name: str, segment_bytes: int = _SEGMENT_BYTES
    ) -> None:
        self.node = node
        self.name = name
        self.path = folder / name
        self._segment_bytes = segment_bytes
        self._descriptor = -1
        self._length = self._room_bytes = 0
        self._must_cut = self._must_rotate = False
        self._lock = _locked(self.path)
        try:
            self.tail = read_tail(self.path, node=node, lane=name)
            self.chain = Chain(node=node, lane=name, seq=self.tail.seq, head=self.tail.head)
            self._open()
        except OSError as error:
            self.close()
            raise NodeUnavailableError(
                f"audit: the lane cannot be opened ({_why(error)})"
            ) from error

    def append(self, bodies: Sequence[bytes], *, at: str) -> None:
        """Write records, canonical, and return when they are durable.

        Raises:
            OSError: they are not; nothing of them stays, and the chain is where it was.
        """
        seq, head = self.chain.seq, self.chain.head
        try:
            self._repair()
            if self._length >= self._segment_bytes:
                self._rotate()
            lines = b"".join([self.chain.link(body, at) for body in bodies])
            self._must_cut = True
            if self._length + len(lines) > self._room_bytes:
                self._make_room(len(lines))
            _write(self._descriptor, lines, self._length)
            self._must_rotate = True
            os.fdatasync(self._descriptor)
        except OSError:
            self.chain.seq, self.chain.head = seq, head
            raise
        self._must_cut = self._must_rotate = False
        self._length += len(lines)

    def spend_reserve(self) -> None:
        """Give up the room that was kept for saying that there is no room."""
        (self.path / "reserve").unlink(missing_ok=True)

    def restore_reserve(self) -> bool:
        """Keep room again; False if there is none, or not twice as much."""
        space = os.statvfs(self.path)
        if space.f_bavail * space.f_frsize < 2 * RESERVE_BYTES:
            return False
        try:
            with (self.path / "reserve").open("wb") as reserve:
                reserve.write(b"\0" * RESERVE_BYTES)
                os.fsync(reserve.fileno())
        except OSError:
            self.spend_reserve()
            return False
        return True

    def close(self) -> None:
        """Let others write the lane."""
        if self._descriptor >= 0:
            self._cut_room()
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    def _open(self) -> None:
        path = self.tail.append_to
        if path is None:
            path = self.path / f"{self.chain.seq + 1:016d}{SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, _MODE)
        self._room_bytes = 0
        self._length = self.tail.length_bytes if path == self.tail.append_to else 0
        if os.fstat(self._descriptor).st_size > self._length:
            os.ftruncate(self._descriptor, self._length)  # a torn end; the tail remembers it
            os.fdatasync(self._descriptor)
        _sync_folder(self.path)

    def _repair(self) -> None:
        # After a failed fdatasync the kernel may hold pages as clean that never reached the disk,
        # so what follows goes to another file; nothing that was acknowledged is in doubt.
        if self._must_cut:
            os.ftruncate(self._descriptor, self._length)
            self._room_bytes = 0
            self._must_cut = False
        if self._must_rotate:
            self._rotate()

    def _rotate(self) -> None:
        path = self.path / f"{self.chain.seq + 1:016d}{SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, _MODE)
        try:
            os.ftruncate(descriptor, 0)  # left by a rotation that failed; nothing in it is durable
            _sync_folder(self.path)
        except OSError:
            os.close(descriptor)
            raise
        self._cut_room()
        os.close(self._descriptor)
        self._descriptor, self._length, self._must_rotate = descriptor, 0, False
        self._room_bytes = 0

    def _make_room(self, needed_bytes: int) -> None:
        """Fill the file with zeros beyond its records; without room for that, they go without."""
        end = min(self._length + _ROOM_BYTES, max(self._segment_bytes, self._length + needed_bytes))
        try:
            _write(self._descriptor, bytes(end - self._length), self._length)
            self._room_bytes = end
        except OSError:
            os.ftruncate(self._descriptor, self._length)
            self._room_bytes = 0

    def _cut_room(self) -> None:
        """Give back the room that no record took; what cannot be cut is no record all the same."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._length)


def _locked(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, _MODE)
    except OSError as error:
        raise NodeUnavailableError(f"audit: a lane cannot be made: {_why(error)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise NodeUnavailableError("audit: another process writes this lane") from error
    return lock


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
