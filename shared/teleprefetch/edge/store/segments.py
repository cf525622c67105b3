"""Segment files: the frames of one version of a series, appended one after the other.

A file starts with its format and a head that says what it is; then come records: a mark, lengths,
SHA-256 of the content, CRC-32 of all that, a name, the content. What is in the file counts only
once the index says so: a crash leaves a tail that nobody refers to, and the next start cuts it.
The file tells all that the index knows, so that a lost index is made again from the files.
"""

import hashlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.disk import CLOSED, alone_with, disk_errors, lock_file, write_all
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError, StudyNotFoundError

FORMAT: Final = 2
FRAME: Final = b"FRAM"
ENTRIES: Final = b"ENTR"
_MAGIC: Final = b"TPSEG"
_HEADER: Final = struct.Struct(">5sBI32s")
_RECORD: Final = struct.Struct(">4sHQ32sI")
_MOST_HEAD_BYTES: Final = 1 << 24
_BEGUN_WITHIN_S: Final = 0.2
_LOOK_AGAIN_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a record's content lies in a segment, and its SHA-256 in hexadecimal."""

    offset: int
    length_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the file has it; its content is not read."""

    mark: bytes
    name: bytes
    content: Appended
    end_bytes: int


class Segment:
    """A segment opened for writing; one at a time in all processes (flock)."""

    def __init__(self, descriptor: int, *, end_bytes: int) -> None:
        self._descriptor = descriptor
        self.end_bytes = end_bytes

    @classmethod
    def begin(cls, path: Path, *, head: bytes) -> "Segment":
        """A new segment with nothing but its head; not synced yet.

        Raises:
            NodeUnavailableError: the disk refuses.
        """
        with disk_errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                lock_file(descriptor, wait=False)
                written = _HEADER.pack(_MAGIC, FORMAT, len(head), hashlib.sha256(head).digest())
                write_all(descriptor, (written, head), 0)
            except BaseException:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise
        return cls(descriptor, end_bytes=len(written) + len(head))

    @classmethod
    def open(cls, path: Path, *, committed_bytes: Callable[[], int]) -> "Segment":
        """Open a segment, without what lies after its last commit.

        `committed_bytes` is asked once the file is locked, so that nobody commits in between.
        A file that somebody cut short gets its committed length back: what the index refers to is
        then read as wrong bytes and dropped, and is never overwritten by other frames.

        Raises:
            StudyNotFoundError: there is no such file (any more).
            NodeUnavailableError: the disk refuses, or another process writes this segment.
        """
        with disk_errors():
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise StudyNotFoundError("series: evicted or purged") from None
            try:
                _lock_for_writing(descriptor)
                end_bytes = committed_bytes()
                os.ftruncate(descriptor, end_bytes)
            except BaseException:
                os.close(descriptor)
                raise
        return cls(descriptor, end_bytes=end_bytes)

    def append(
        self, name: bytes, content: bytes, *, mark: bytes = FRAME, sha256: bytes | None = None
    ) -> Appended:
        """Write one record after the others; it is not synced yet.

        `sha256` is the content's, where it is known already.

        Raises:
            NodeUnavailableError: the disk refuses; the next record takes the same place.
        """
        digest = hashlib.sha256(content).digest() if sha256 is None else sha256
        record = _described(mark, name, len(content), digest)
        with disk_errors():
            try:
                write_all(self._descriptor, (record + name, content), self.end_bytes)
            except OSError:
                # A part of it may be all that keeps the index from committing what came before.
                os.ftruncate(self._descriptor, self.end_bytes)
                raise
        offset = self.end_bytes + len(record) + len(name)
        self.end_bytes = offset + len(content)
        return Appended(offset=offset, length_bytes=len(content), sha256=digest.hex())

    def sync(self) -> None:
        """Returns when everything appended is on the disk."""
        with disk_errors():
            os.fdatasync(self._descriptor)

    def close(self, *, keep_bytes: int) -> None:
        """Give the file up, and with it the lock; what lies beyond `keep_bytes` is cut off."""
        # The number is another file's as soon as it is closed: nobody may use it then.
        descriptor, self._descriptor = self._descriptor, CLOSED
        try:
            if self.end_bytes > keep_bytes:
                with disk_errors():
                    os.ftruncate(descriptor, keep_bytes)
        finally:
            os.close(descriptor)


def _lock_for_writing(descriptor: int) -> None:
    ends_s = time.monotonic() + _BEGUN_WITHIN_S
    while True:
        try:
            lock_file(descriptor, wait=False)
        except BlockingIOError:
            # Who has begun it, or looks whether it is in use, is about to let it go.
            if time.monotonic() > ends_s:
                raise NodeUnavailableError("store: another process writes this series") from None
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def record_bytes(name: bytes, content: bytes) -> int:
    """How many bytes a record takes in a segment."""
    return _RECORD.size + len(name) + len(content)


def head_of(path: Path) -> bytes:
    """A segment's head.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptPayloadError: it is no segment of this format, or its head changed.
    """
    with path.open("rb") as file:
        return _read_head(file.fileno())


def records_of(path: Path) -> Iterator[Record]:
    """A segment's records in order, up to the first that is not whole; their contents are not read.

    Raises as `head_of` does.
    """
    with path.open("rb") as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        at = _HEADER.size + len(_read_head(descriptor))
        while (record := _record_at(descriptor, at, size)) is not None:
            yield record
            at = record.end_bytes


def cut_tail(path: Path, *, committed_bytes: int) -> int:
    """Cut what lies after the last commit; how many bytes. A segment in use is left alone."""
    with disk_errors(), alone_with(path) as descriptor:
        if descriptor is None:
            return 0
        tail = os.fstat(descriptor).st_size - committed_bytes
        if tail > 0:
            os.ftruncate(descriptor, committed_bytes)
        return max(tail, 0)


def _described(mark: bytes, name: bytes, length_bytes: int, digest: bytes) -> bytes:
    blank = _RECORD.pack(mark, len(name), length_bytes, digest, 0)
    return _RECORD.pack(mark, len(name), length_bytes, digest, zlib.crc32(blank + name))


def _read_head(descriptor: int) -> bytes:
    header = os.pread(descriptor, _HEADER.size, 0)
    if len(header) < _HEADER.size:
        raise CorruptPayloadError("store: a segment is cut short")
    magic, version, length, digest = _HEADER.unpack(header)
    if magic != _MAGIC or version != FORMAT or length > _MOST_HEAD_BYTES:
        raise CorruptPayloadError("store: a file is no segment of this format")
    head = os.pread(descriptor, length, _HEADER.size)
    if hashlib.sha256(head).digest() != digest:
        raise CorruptPayloadError("store: a segment's head is damaged")
    return head


def _record_at(descriptor: int, at: int, size: int) -> Record | None:
    fixed = os.pread(descriptor, _RECORD.size, at)
    if len(fixed) < _RECORD.size:
        return None
    mark, name_length, length, digest, _ = _RECORD.unpack(fixed)
    name = os.pread(descriptor, name_length, at + _RECORD.size)
    offset = at + _RECORD.size + name_length
    if offset + length > size or fixed != _described(mark, name, length, digest):
        return None
    content = Appended(offset=offset, length_bytes=length, sha256=digest.hex())
    return Record(mark=mark, name=name, content=content, end_bytes=offset + length)
