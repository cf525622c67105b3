"""Writes the frames of one series version in groups: synced together, then visible together."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from teleprefetch.edge.store.adopting import dump_frame_name
from teleprefetch.edge.store.rows import FrameName, HeldFrame, frame_name
from teleprefetch.edge.store.segments import Segment, record_bytes
from teleprefetch.errors import StudyNotFoundError
from teleprefetch.model import Frame, FrameEntry


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
        room: Callable[[int], AbstractContextManager[None]],
        monotonic_s: Callable[[], float],
        grouping: Grouping,
    ) -> None:
        self._segment = segment
        self._visible = visible
        self._publish = publish
        self._room = room
        self._monotonic_s = monotonic_s
        self._grouping = grouping
        self._lock = threading.Lock()
        self._waiting: list[HeldFrame] = []
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
            if any(frame.name == name for frame in self._waiting):
                return True
        return self._visible(name)

    def append(self, entry: FrameEntry, frame: Frame, *, pixels_checked: bool = False) -> None:
        """Write a frame; the group it falls in is published when full or old enough.

        Raises:
            NodeUnavailableError: there is no room, or the disk refuses.
            StudyNotFoundError: the series was purged or replaced meanwhile.
        """
        name = dump_frame_name(frame_name(entry), frame.transfer_syntax_uid, checked=pixels_checked)
        with self._room(record_bytes(name, frame.content)), self._lock:
            self._check_open()
            if not self._waiting:
                self._waiting_since_s = self._monotonic_s()
            appended = self._segment.append(name, frame.content)
            held = HeldFrame(
                sop_instance_uid=entry.sop_instance_uid,
                frame_number=entry.frame_number,
                offset=appended.offset,
                length_bytes=appended.length_bytes,
                transfer_syntax_uid=frame.transfer_syntax_uid,
                sha256=appended.sha256,
                pixels_checked=pixels_checked,
            )
            self._waiting.append(held)
            if self._is_full():
                self._commit()

    def commit(self) -> None:
        """Publish what waits; raises as `append` does."""
        with self._lock:
            self._check_open()
            self._commit()

    def close(self) -> None:
        """Give the file up; what was not published is cut off, so that a full disk gets room.

        Whoever still appends is refused: the segment was replaced.
        """
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._segment.close(keep_bytes=self._published_bytes)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StudyNotFoundError("series: replaced while it was written")

    def _is_full(self) -> bool:
        waited_s = self._monotonic_s() - self._waiting_since_s
        return len(self._waiting) >= self._grouping.frames or waited_s >= self._grouping.seconds

    def _commit(self) -> None:
        if not self._waiting:
            return
        self._segment.sync()
        self._publish(tuple(self._waiting), self._segment.end_bytes)
        self._waiting.clear()
        self._published_bytes = self._segment.end_bytes
