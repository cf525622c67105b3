"""What a node holds of each series, and what of it may be served."""

import hashlib
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from teleprefetch.edge.store.adopting import load_entries, read_piece
from teleprefetch.edge.store.counters import Counters
from teleprefetch.edge.store.disk import disk_errors
from teleprefetch.edge.store.index import Index
from teleprefetch.edge.store.proofs import Proofs
from teleprefetch.edge.store.reconciling import Reconciler
from teleprefetch.edge.store.room import Ballast
from teleprefetch.edge.store.rows import FrameName, HeldFrame, SeriesRow, series_key, unpack
from teleprefetch.edge.store.store_files import Files, private_directory
from teleprefetch.edge.store.tombstones import Tombstones
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError
from teleprefetch.model import Frame, SeriesMetadata, SeriesPointer

_LOG: Final = logging.getLogger(__name__)
_GZIP: Final = ""


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """Where one frame's bytes lie, and what they are.

    `content` has the bytes themselves if the store could not take them; `path` is then empty.
    """

    path: Path
    offset: int
    length_bytes: int
    transfer_syntax_uid: str
    sha256: str
    version_id: int
    content: bytes | None = None

    @classmethod
    def in_memory(cls, frame: Frame, version_id: int) -> Self:
        """A frame that the store could not take."""
        return cls(
            path=Path(),
            offset=0,
            length_bytes=len(frame.content),
            transfer_syntax_uid=frame.transfer_syntax_uid,
            sha256=hashlib.sha256(frame.content).hexdigest(),
            version_id=version_id,
            content=frame.content,
        )


class Holdings:
    """The index and the files together; reconciled when opened, shared by threads.

    With a disk too full to open the index, it answers by the files alone.

    Args:
        path: their own directory; made private (0700).
        patience_s: how long a change waits for other processes.

    Raises:
        NodeUnavailableError: the directory cannot be used.
    """

    def __init__(self, path: Path, *, patience_s: float = 5.0) -> None:
        self.counters = Counters()
        self._is_closed = False
        self._proofs = Proofs()
        private_directory(path)
        self._files = Files(path, proofs=self._proofs)
        private_directory(path / "index")
        self._segments = self._files.segments
        self._ballast = Ballast(path / "ballast")
        self._tombstones = self._ballast.dropped_if_needed(lambda: Tombstones(path / "tombstones"))
        self._index = Index(
            path, tombstones=self._tombstones, counters=self.counters, patience_s=patience_s
        )
        self._reconciler = Reconciler(self._index, self._files, self._tombstones)
        self._reconciling = threading.Lock()
        try:
            self._ballast.dropped_if_needed(self._index.open)
        except NodeUnavailableError as error:
            _LOG.error("store: opened without its index: %s", error)
        self._ballast.restore()
        self._index.must_reconcile = True
        self._refresh()
        self._reconciler.tidy()

    def close(self) -> None:
        """Close the index and what is shared with other processes; a second time does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._index.close()
        self._tombstones.close()
        self._ballast.restore()

    def close_thread(self) -> None:
        """Close this thread's connection to the index; a thread that ends calls it."""
        self._index.close_thread()

    def rows(self) -> list[SeriesRow]:
        """Every series held, oldest first."""
        self._refresh()
        return sorted(self._index.copy.rows.copy().values(), key=lambda row: row.stored_at)

    def of_study(self, study_instance_uid: str) -> list[SeriesRow]:
        """The series held of a study, newest first."""
        self._refresh()
        return self._index.copy.of_study(study_instance_uid)

    def revision(self) -> int:
        """A number that stays the same as long as what is held, of any study, does."""
        self._refresh()
        return self._index.copy.revision

    def ranks(self, *study_instance_uids: str) -> dict[str, int]:
        """How the newest plan that names one of the studies ranks all of its studies.

        The current study has rank 0, the best prior 1. Empty if no plan names one of them.
        """
        self._refresh()
        asked = {*study_instance_uids}
        named = [plan for plan in [*self._index.copy.plans.values()] if asked & plan.ranks.keys()]
        return dict(max(named, key=lambda plan: plan.asked_at).ranks) if named else {}

    def metadata(self, origin_id: str, series: SeriesPointer) -> SeriesMetadata | None:
        """A series' metadata as stored, or None."""
        row = self._row(origin_id, series)
        packed = None if row is None else self.packed_dicom_json(row)
        if row is None or packed is None:
            return None
        try:
            entries = load_entries(read_piece(self._files.segment(row.segment), row.entries))
        except CorruptPayloadError as error:
            self._drop_series(row, error)
            return None
        return SeriesMetadata(
            series=series,
            dicom_json=unpack(packed),
            frames=entries.frames,
            without_frames=entries.without_frames,
        )

    def packed_dicom_json(self, row: SeriesRow) -> bytes | None:
        """A series' DICOM JSON in gzip, or None."""
        try:
            return read_piece(self._files.metadata(row.segment), row.metadata)
        except CorruptPayloadError as error:
            self._drop_series(row, error)
            return None

    def stored_metadata(self, row: SeriesRow) -> StoredFrame | None:
        """A series' DICOM JSON in gzip as the range of a file whose bytes are proven, or None.

        Raises:
            NodeUnavailableError: the disk cannot be read.
        """
        path = self._files.metadata(row.segment)
        with disk_errors():
            is_proven = self._proofs.proves(path, row.metadata)
        if not is_proven:
            self._drop_series(row, CorruptPayloadError("store: metadata do not match"))
            return None
        piece, version_id = row.metadata, row.series.version_id
        return StoredFrame(path, 0, piece.length_bytes, _GZIP, piece.sha256, version_id)

    def has(self, origin_id: str, series: SeriesPointer, name: FrameName) -> bool:
        """Tell whether a frame is visible."""
        row = self._row(origin_id, series)
        return row is not None and name in self._frames_of(row)

    def frames(self, origin_id: str, series: SeriesPointer) -> dict[FrameName, HeldFrame]:
        """The visible frames of a series; a copy."""
        row = self._row(origin_id, series)
        return {} if row is None else dict(self._frames_of(row))

    def frame(self, row: SeriesRow, name: FrameName) -> StoredFrame | None:
        """A frame whose bytes are proven; one that does not match is dropped, never answered.

        Raises:
            NodeUnavailableError: the disk cannot be read.
        """
        held = self._frames_of(row).get(name)
        if held is None or not self._verified(row, [held]):
            self.counters.add("misses")
            return None
        self.counters.add("hits")
        self._files.marks.mark(row.segment)
        return StoredFrame(
            path=self._files.segment(row.segment),
            offset=held.offset,
            length_bytes=held.length_bytes,
            transfer_syntax_uid=held.transfer_syntax_uid,
            sha256=held.sha256,
            version_id=row.series.version_id,
        )

    def served(self, row: SeriesRow, frames: int) -> None:
        """Take note of frames that were answered from what a server remembers; never waits."""
        self.counters.add("hits", frames)
        self._files.marks.mark(row.segment)

    def verify(
        self,
        origin_id: str,
        series: SeriesPointer,
        *,
        frames: Collection[FrameName] | None = None,
    ) -> set[FrameName]:
        """The frames (of those asked for) whose bytes, read back from the disk, match.

        The others are dropped. Raises NodeUnavailableError if the disk cannot be read.
        """
        row = self._row(origin_id, series)
        if row is None:
            return set()
        held = self._frames_of(row)
        return self._verified(
            row, [held[name] for name in (held if frames is None else frames) if name in held]
        )

    def counts(self, row: SeriesRow) -> tuple[int, int]:
        """How many frames of a series are visible, and proven by this process; reads nothing."""
        held = list(self._frames_of(row).values())
        return len(held), self._proofs.count(self._files.segment(row.segment), held)

    def _refresh(self) -> None:
        """Follow the index; if it lost rows, make them again from the files."""
        self._index.refresh()
        if self._index.must_reconcile and self._reconciling.acquire(blocking=False):
            try:
                self._index.must_reconcile = False
                self._reconciler.reconcile()
            except NodeUnavailableError as error:
                _LOG.warning("store: not reconciled yet: %s", error)
            finally:
                self._reconciling.release()

    def _row(self, origin_id: str, series: SeriesPointer) -> SeriesRow | None:
        self._refresh()
        return self._index.copy.rows.get(series_key(origin_id, series))

    def _frames_of(self, row: SeriesRow) -> dict[FrameName, HeldFrame]:
        try:
            return self._index.frames(row)
        except CorruptPayloadError as error:
            self.counters.add("refused_entries")
            _LOG.warning("store: the rows of a series are made again: %s", error)
            self._reconciler.again(row)
            current = self._index.copy.rows.get(row.key)
            return {} if current is None else self._index.frames(current)

    def _verified(self, row: SeriesRow, frames: list[HeldFrame]) -> set[FrameName]:
        with disk_errors():
            matching = self._proofs.matching(self._files.segment(row.segment), frames)
        if len(matching) < len(frames):
            self._drop_frames(row, [frame for frame in frames if frame.name not in matching])
        return matching

    def _drop_frames(self, row: SeriesRow, damaged: list[HeldFrame]) -> None:
        current = self._index.copy.rows.get(row.key)
        if current is None or current.segment != row.segment:
            return  # evicted or replaced meanwhile: nothing is damaged
        if not self._files.segment(row.segment).exists():
            return  # the file goes before the row; a lost one is found with the metadata
        self.counters.add("integrity_failures", len(damaged))
        _LOG.warning("store: %d damaged frames are dropped", len(damaged))
        self._reconciler.drop_frames(row, damaged)

    def _drop_series(self, row: SeriesRow, error: CorruptPayloadError) -> None:
        current = self._index.copy.rows.get(row.key)
        if current is None or current.segment != row.segment:
            return
        if self._files.are_there(row.segment):  # else they are being evicted, file by file
            self.counters.add("integrity_failures")
        _LOG.warning("store: a series is dropped: %s", error)
        self._discard(row)

    def _discard(self, row: SeriesRow) -> int:
        freed = self._files.remove(row.segment)
        self._index.copy.drop(row.key)
        self._reconciler.remove_rows([row])
        self._ballast.restore()
        return freed
