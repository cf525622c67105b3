"""Makes index and files agree: rows without files go, files without rows are adopted or go.

After a crash, with a lost or damaged index, or on a full disk, the files are what is true: they
tell what they are, and their frames are proven before they are served.
"""

import logging
import time
from contextlib import nullcontext
from typing import Final

from teleprefetch.edge.store.adopting import Found, found_in, head_in
from teleprefetch.edge.store.disk import disk_errors
from teleprefetch.edge.store.index import Index
from teleprefetch.edge.store.rows import HeldFrame, LineageRow, SeriesRow, lineage_of
from teleprefetch.edge.store.segments import cut_tail
from teleprefetch.edge.store.store_files import Files
from teleprefetch.edge.store.tombstones import Tombstones
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)
SUPERSEDED_KEPT_S: Final = 3600.0
"""How long frames of a replaced version wait for the next one to take them over."""


class Reconciler:
    """The repairs of one store."""

    def __init__(self, index: Index, files: Files, tombstones: Tombstones) -> None:
        self._index = index
        self._files = files
        self._tombstones = tombstones

    def reconcile(self) -> None:
        """Make index and files agree.

        Raises:
            NodeUnavailableError: the index cannot be written; what could be done is done.
        """
        # Files are listed before rows: a row is always older than its file.
        names = self._files.names()
        self._index.refresh()
        rows = {row.segment: row for row in [*self._index.copy.rows.values()]}
        lost = [row for row in rows.values() if not self._has_file(row)]
        buried = list(self._index.copy.buried.values())
        for row in (*lost, *buried):
            self._files.remove(row.segment)
        adopted = [found for name in names if name not in rows and (found := self._found(name))]
        if lost or buried:
            self.remove_rows([*lost, *buried])
        if adopted:
            self._adopt(adopted)

    def tidy(self) -> None:
        """Cut torn tails and remove what belongs to nothing; once, when the store is opened."""
        names = set(self._files.names())
        rows = {row.segment: row for row in [*self._index.copy.rows.values()]}
        cut = sum(
            cut_tail(self._files.segment(name), committed_bytes=rows[name].segment_bytes)
            for name in names & rows.keys()
        )
        swept = self._files.sweep(set(self._files.names()))
        before_s = time.time() - SUPERSEDED_KEPT_S
        swept += bool(self._files.remove_superseded(before_s=before_s))
        _LOG.info("store: %d torn bytes cut, %d files without an owner removed", cut, swept)

    def again(self, row: SeriesRow) -> None:
        """Make the rows of one series again from its file."""
        found = self._found(row.segment)
        try:
            self.remove_rows([row])
            if found is not None:
                self._adopt([found])
        except NodeUnavailableError as error:
            _LOG.warning("store: the rows are not made again yet: %s", error)
            self._index.copy.drop(row.key)

    def drop_frames(self, row: SeriesRow, damaged: list[HeldFrame]) -> None:
        """Hold some frames of a series no longer; if that cannot be written, until it can."""
        gone = [
            HeldFrame(frame.sop_instance_uid, frame.frame_number, 0, 0, "", "") for frame in damaged
        ]
        try:
            with self._index.changing():
                stored = self._index.stored_row(row.key)
                if stored is None or stored.segment != row.segment:
                    return
                held = self._index.frames(stored)
                still = [
                    one for one, old in zip(gone, damaged, strict=True) if held.get(one.name) == old
                ]
                if still:
                    self._index.add_group(stored, tuple(still), stored.segment_bytes)
        except NodeUnavailableError as error:
            # They are looked at again at the next hit, and not served then either.
            _LOG.warning("store: damaged frames cannot be dropped for good yet: %s", error)

    def remove_rows(self, rows: list[SeriesRow]) -> list[SeriesRow]:
        """The rows that were held until now, and are no longer.

        Raises:
            NodeUnavailableError: the index cannot be written.
        """
        with self._index.changing():
            return self.remove_stored(rows)

    def remove_stored(self, rows: list[SeriesRow]) -> list[SeriesRow]:
        """The same, inside a change that is under way."""
        stored = [
            now
            for row in rows
            if (now := self._index.stored_row(row.key)) is not None and now.segment == row.segment
        ]
        for row in stored:
            self._index.remove(row)
        return stored

    def _has_file(self, row: SeriesRow) -> bool:
        with disk_errors():
            try:
                return head_in(self._files.segment(row.segment)).key == row.key
            except (FileNotFoundError, CorruptPayloadError):
                return False

    def _found(self, name: str) -> Found | None:
        try:
            return found_in(self._files, name)
        except CorruptPayloadError as error:
            if self._files.remove_unused(name) is not None:
                _LOG.info("store: a file without a row was removed: %s", error)
            return None

    def _adopt(self, found: list[Found]) -> None:
        """Hold what was found, of each series the newest version that may be held."""
        newest: dict[str, Found] = {}
        for one in sorted(found, key=lambda one: _age_of(one.row)):
            newest[lineage_of(one.row.key)] = one
        with self._index.changing() if self._index.is_open else nullcontext():
            taken = {one.row.segment for one in newest.values() if self._take(one)}
        for one in found:
            if one.row.segment not in taken:
                self._files.remove_unused(one.row.segment)
        _LOG.warning("store: %d series were found in files alone", len(taken))

    def _take(self, found: Found) -> bool:
        row = found.row
        name, version = lineage_of(row.key), row.series.version_id
        known = self._index.lineage(name)
        if self._tombstones.covers(name, version) or known.deleted:
            return False
        others = [one for one in self._index.copy.of_lineage(name) if one.segment != row.segment]
        if any(_age_of(one) > _age_of(row) for one in others):
            return False
        if row.series.image_set_id is not None and version < known.highest_version:
            return False
        self._drop_others(others)
        self._index.adopt(row, found.frames)
        if self._index.is_open:
            self._index.put_lineage(name, LineageRow(highest_version=version))
        return True

    def _drop_others(self, others: list[SeriesRow]) -> None:
        for one in others:
            if self._index.is_open:
                self.remove_stored([one])
            else:
                self._index.copy.drop(one.key)
            self._files.remove_unused(one.segment)


def _age_of(row: SeriesRow) -> tuple[int, float]:
    """Sorts versions: HealthImaging counts them; elsewhere the latest answer is the newest."""
    version = row.series.version_id if row.series.image_set_id is not None else 0
    return (version, row.asked_at)
