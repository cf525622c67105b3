"""Writes the frames of one series version in groups: synced together, then visible together.

While one thread has a group synced, the others go on appending to the next: a sync takes as long
as fetching a hundred frames does.
"""

import hashlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from teleprefetch.edge.store.adopting import dump_frame_name
from teleprefetch.edge.store.disk import disk_errors
from teleprefetch.edge.store.rows import FrameName, HeldFrame, frame_name
from teleprefetch.edge.store.segments import Segment, record_bytes
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.model import Frame, FrameEntry

_MOST_AHEAD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Grouping:
    """How many frames, or how many seconds after the first of them, make a group."""

    frames: int = 64
    seconds: float = 0.05


class SeriesWriter:
    """The one writer of a segment; any number of threads append.

    Args:
        segment: the file, open at its last commit.
        visible: tells whether a frame is visible already.
        publish: makes a synced group visible; told where the segment now ends.
        prove: reads a group back, once it is visible.
        appending: around each write to the file.
        room: reserves bytes while a frame is written.
        monotonic_s: seconds of a clock that only goes forward.
        grouping: when a group is full.
    """

    def __init__(
        self,
        *,
        segment: Segment,
        visible: Callable[[FrameName], bool],
        publish: Callable[[tuple[HeldFrame, ...], int], None],
        prove: Callable[[tuple[HeldFrame, ...]], object],
        appending: Callable[[], AbstractContextManager[None]],
        room: Callable[[int], AbstractContextManager[None]],
        monotonic_s: Callable[[], float],
        grouping: Grouping,
    ) -> None:
        self._segment = segment
        self._visible = visible
        self._publish = publish
        self._prove = prove
        self._appending = appending
        self._room = room
        self._monotonic_s = monotonic_s
        self._grouping = grouping
        # Whoever publishes holds the second one all the while, and the first for moments.
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._waiting: list[HeldFrame] = []
        self._names: set[FrameName] = set()
        self._waiting_since_s = 0.0
        self._published_bytes = segment.end_bytes
        self._is_closed = False

    @property
    def unpublished_bytes(self) -> int:
        """What is in the file and not visible yet."""
        return self._segment.end_bytes - self._published_bytes

    def holds(self, name: FrameName) -> bool:
        """Tell whether a frame is written, be it visible or in the group that fills now."""
        with self._lock:
            if name in self._names:
                return True
        return self._visible(name)

    def append(
        self,
        entry: FrameEntry,
        frame: Frame,
        *,
        pixels_checked: bool = False,
        publishes: bool = True,
    ) -> None:
        """Write a frame; the group it falls in is published when full or old enough.

        Args:
            entry: which frame it is.
            frame: its bytes.
            pixels_checked: whether its pixels were compared with the origin's checksum.
            publishes: False leaves that to a `publish_if_full` that follows, once the caller has
                given up the frame's memory.

        Raises:
            NodeUnavailableError: there is no room, or the disk refuses.
            StudyNotFoundError: the series was purged or replaced meanwhile.
        """
        name = dump_frame_name(frame_name(entry), frame.transfer_syntax_uid, checked=pixels_checked)
        sha256 = hashlib.sha256(frame.content).digest()
        with self._room(record_bytes(name, frame.content)), self._lock:
            self._check_open()
            with disk_errors(), self._appending():
                appended = self._segment.append(name, frame.content, sha256=sha256)
            held = HeldFrame(
                sop_instance_uid=entry.sop_instance_uid,
                frame_number=entry.frame_number,
                offset=appended.offset,
                length_bytes=appended.length_bytes,
                transfer_syntax_uid=frame.transfer_syntax_uid,
                sha256=appended.sha256,
                pixels_checked=pixels_checked,
            )
            if not self._waiting:
                self._waiting_since_s = self._monotonic_s()
            self._waiting.append(held)
            self._names.add(held.name)
        if publishes:
            self.publish_if_full()

    def publish_if_full(self) -> None:
        """Publish the group that fills if it is full or old enough; raises as `append` does.

        While another thread publishes, this one goes on, up to so many bytes ahead of it.
        """
        with self._lock:
            is_full = self._is_full()
        if is_full and self._publishing.acquire(
            blocking=self.unpublished_bytes > _MOST_AHEAD_BYTES
        ):
            try:
                group = self._publish_group()
            finally:
                self._publishing.release()
            self._prove(group)

    def commit(self) -> None:
        """Publish what waits; raises as `append` does."""
        with self._publishing:
            group = self._publish_group()
        self._prove(group)

    def close(self) -> None:
        """Give the file up; what was not published is cut off, so that a full disk gets room.

        Whoever still appends is refused: the segment was replaced.
        """
        with self._publishing, self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._segment.close(keep_bytes=self._published_bytes)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StudyNotFoundError("series: replaced while it was written")

    def _is_full(self) -> bool:
        if not self._waiting:
            return False
        waited_s = self._monotonic_s() - self._waiting_since_s
        return len(self._waiting) >= self._grouping.frames or waited_s >= self._grouping.seconds

    def _publish_group(self) -> tuple[HeldFrame, ...]:
        with self._lock:
            self._check_open()
            group, end_bytes = tuple(self._waiting), self._segment.end_bytes
        if not group:
            return ()
        self._segment.sync()
        self._publish(group, end_bytes)
        with self._lock:
            del self._waiting[: len(group)]
            self._names.difference_update(frame.name for frame in group)
            self._waiting_since_s = self._monotonic_s()
            self._published_bytes = end_bytes
        return group
