"""What a node holds of each series: what may be served of it, and what may replace what."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from teleprefetch.edge.index import Index
from teleprefetch.edge.proofs import Proofs
from teleprefetch.edge.room import Ballast, private_directory
from teleprefetch.edge.rows import (
    Entries,
    FrameName,
    HeldFrame,
    LineageRow,
    SeriesRow,
    image_set_lineage,
    lineage,
    series_key,
    unpack,
    unseal,
)
from teleprefetch.edge.segments import belongs, cut_tail, disk_errors, remove_orphan
from teleprefetch.errors import CorruptPayloadError, StudyNotFoundError
from teleprefetch.model import SeriesMetadata, SeriesPointer

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """Where one frame's bytes lie, and what they are."""

    path: Path
    offset: int
    length_bytes: int
    transfer_syntax_uid: str
    sha256: str
    version_id: int


class Holdings:
    """The index and the segment files together; swept when opened, shared by threads.

    Args:
        path: their own directory; made private (0700).

    Raises:
        NodeUnavailableError: the directory or the index cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._proofs = Proofs()
        self._segments = path / "segments"
        for directory in (path, self._segments, path / "index"):
            private_directory(directory)
        self._ballast = Ballast(path / "ballast")
        self._index = self._ballast.dropped_if_needed(lambda: Index(path / "index"))
        self._ballast.restore()
        self._recover()

    def close_thread(self) -> None:
        """Close this thread's connection to the index; a thread that ends calls it."""
        self._index.close_thread()

    def rows(self) -> list[SeriesRow]:
        """Every series held, oldest first."""
        self._index.refresh()
        return self._index.rows()

    def of_study(self, study_instance_uid: str) -> list[SeriesRow]:
        """The series held of a study, newest first."""
        self._index.refresh()
        return self._index.of_study(study_instance_uid)

    def metadata(self, origin_id: str, series: SeriesPointer) -> SeriesMetadata | None:
        """A series' metadata as stored, or None."""
        row = self._row(origin_id, series)
        packed = None if row is None else self._unsealed(row, "metadata", "entries")
        if packed is None:
            return None
        entries = Entries.parse_json(unpack(packed["entries"]), at="store")
        return SeriesMetadata(
            series=series,
            dicom_json=unpack(packed["metadata"]),
            frames=entries.frames,
            without_frames=entries.without_frames,
        )

    def packed_dicom_json(self, row: SeriesRow) -> bytes | None:
        """A series' DICOM JSON in gzip, or None."""
        packed = self._unsealed(row, "metadata")
        return None if packed is None else packed["metadata"]

    def has(self, origin_id: str, series: SeriesPointer, name: FrameName) -> bool:
        """Tell whether a frame is visible."""
        row = self._row(origin_id, series)
        return row is not None and self._index.frame(row, name) is not None

    def frames(self, origin_id: str, series: SeriesPointer) -> dict[FrameName, HeldFrame]:
        """The visible frames of a series; a copy."""
        row = self._row(origin_id, series)
        return {} if row is None else self._index.frames(row)

    def frame(self, row: SeriesRow, name: FrameName) -> StoredFrame | None:
        """A frame whose bytes are proven; one that does not match is dropped, never answered.

        Raises:
            NodeUnavailableError: the disk cannot be read.
        """
        held = self._index.frame(row, name)
        if held is None or not self._verified(row, [held]):
            return None
        return StoredFrame(
            path=self._segments / row.segment,
            offset=held.offset,
            length_bytes=held.length_bytes,
            transfer_syntax_uid=held.transfer_syntax_uid,
            sha256=held.sha256,
            version_id=row.series.version_id,
        )

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
        held = self._index.frames(row)
        return self._verified(
            row, [held[name] for name in (held if frames is None else frames) if name in held]
        )

    def counts(self, row: SeriesRow) -> tuple[int, int]:
        """How many frames of a series are visible, and proven by this process; reads nothing."""
        held = list(self._index.frames(row).values())
        return len(held), self._proofs.count(self._segments / row.segment, held)

    def purge(self, origin_id: str, image_set_id: str, below_version: int | None = None) -> int:
        """Forget an image set, or its versions below one, for good; how many versions went.

        Files go first and the tombstone follows, so that nothing is served in between and a
        full disk has room. A crash in between leaves the order unanswered: it comes again.

        Raises:
            NodeUnavailableError: the tombstone could not be written.
        """
        name = image_set_lineage(origin_id, image_set_id)
        self._index.refresh()
        doomed = self._below(name, below_version)
        for row in doomed:
            self._unlink(row)
            self._index.hide(row)
        late = self._ballast.dropped_if_needed(partial(self._bury, name, below_version))
        for row in late:
            self._unlink(row)
        self._ballast.restore()
        return len({row.segment for row in (*doomed, *late)})

    def _bury(self, name: str, below_version: int | None) -> list[SeriesRow]:
        with self._index.changing():
            known = self._index.lineage(name)
            row = LineageRow(
                highest_version=max(known.highest_version, below_version or 0),
                deleted=known.deleted or below_version is None,
            )
            self._index.put_lineage(name, row)
            return self._remove_rows(self._below(name, below_version))

    def _below(self, name: str, version: int | None) -> list[SeriesRow]:
        held = self._index.of_lineage(name)
        return [row for row in held if version is None or row.series.version_id < version]

    def _remove_rows(self, rows: list[SeriesRow]) -> list[SeriesRow]:
        stored = [row for row in (self._index.stored_row(row.key) for row in rows) if row]
        for row in stored:
            self._index.remove(row)
        return stored

    def _put(self, fresh: SeriesRow, sealed: dict[str, bytes]) -> list[SeriesRow]:
        name, version = lineage(fresh.origin_id, fresh.series), fresh.series.version_id
        self._index.refresh()
        with self._index.changing():
            known = self._index.lineage(name)
            if known.deleted or version < known.highest_version:
                raise StudyNotFoundError("series: deleted, or replaced by a newer version")
            older = self._remove_rows(self._below(name, version))
            self._index.put_lineage(name, LineageRow(highest_version=version))
            row = self._index.stored_row(fresh.key)
            self._index.put_series(row if row is not None else fresh, sealed)
        return older

    def _row(self, origin_id: str, series: SeriesPointer) -> SeriesRow | None:
        self._index.refresh()
        return self._index.row(series_key(origin_id, series))

    def _unsealed(self, row: SeriesRow, *kinds: str) -> dict[str, bytes] | None:
        try:
            sealed = {kind: self._index.sealed(kind, row.key) for kind in kinds}
            return {kind: unseal(value or b"") for kind, value in sealed.items()}
        except CorruptPayloadError as error:
            _LOG.warning("store: a series is dropped: %s", error)
            self._discard(row)
            return None

    def _verified(self, row: SeriesRow, frames: list[HeldFrame]) -> set[FrameName]:
        with disk_errors():
            matching = self._proofs.matching(self._segments / row.segment, frames)
        damaged = [frame for frame in frames if frame.name not in matching]
        if damaged:
            self._drop(row, damaged)
        return matching

    def _drop(self, row: SeriesRow, damaged: list[HeldFrame]) -> None:
        with self._index.changing():
            stored = self._index.stored_row(row.key)
            if stored is None or stored.segment != row.segment:
                return
            gone = tuple(
                frame.model_copy(update={"length_bytes": 0})
                for frame in damaged
                if self._index.frame(stored, frame.name) == frame
            )
            if gone:
                self._index.add_group(stored, gone, stored.segment_bytes)
        _LOG.warning("store: %d damaged frames were dropped", len(gone))

    def _publish(self, row: SeriesRow, frames: tuple[HeldFrame, ...], end_bytes: int) -> None:
        with self._index.changing():
            stored = self._index.stored_row(row.key)
            if stored is None or stored.segment != row.segment:
                raise StudyNotFoundError("series: purged while it was written")
            self._index.add_group(stored, frames, end_bytes)

    def _discard(self, row: SeriesRow) -> None:
        self._unlink(row)
        with self._index.changing():
            stored = self._index.stored_row(row.key)
            if stored is not None and stored.segment == row.segment:
                self._index.remove(stored)
        self._ballast.restore()

    def _unlink(self, row: SeriesRow) -> None:
        path = self._segments / row.segment
        with disk_errors():
            try:
                self._proofs.forget(path.stat())
            except FileNotFoundError:
                return
            path.unlink(missing_ok=True)

    def _recover(self) -> None:
        # Files are listed before rows: a row is always older than its file.
        files = list(self._segments.iterdir())
        self._index.refresh()
        held = {row.segment: row for row in self._index.rows()}
        for row in list(held.values()):
            if row.groups and not belongs(self._segments / row.segment, key=row.key.encode()):
                self._discard(row)
        cut = orphans = 0
        for path in files:
            if path.name not in held:
                orphans += remove_orphan(path)
            elif path.exists():
                cut += cut_tail(path, committed_bytes=held[path.name].segment_bytes)
        _LOG.info("store: %d torn bytes cut, %d orphans removed", cut, orphans)
