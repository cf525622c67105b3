"""What may take the place of what: newer versions, later answers, and purges that hold."""

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import Final

from teleprefetch.edge.store.beginning import Prepared
from teleprefetch.edge.store.counters import Counters
from teleprefetch.edge.store.index import Index
from teleprefetch.edge.store.reconciling import Reconciler
from teleprefetch.edge.store.room import Ballast
from teleprefetch.edge.store.rows import (
    LineageRow,
    SeriesRow,
    image_set_lineage,
    lineage_of,
    series_key,
)
from teleprefetch.edge.store.store_files import Files
from teleprefetch.edge.store.tombstones import Tombstones
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError, StudyNotFoundError

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did, in numbers alone, fit for a log or an audit record.

    `found_after` is what reading back found after it, in rows and files: 0, or the purge failed.
    """

    versions: int
    frames: int
    bytes_freed: int
    found_after: int


class Replacing:
    """The rules of one store; each change is one transaction of the index."""

    def __init__(
        self,
        index: Index,
        files: Files,
        *,
        tombstones: Tombstones,
        reconciler: Reconciler,
        ballast: Ballast,
        counters: Counters,
    ) -> None:
        self._index = index
        self._files = files
        self._tombstones = tombstones
        self._reconciler = reconciler
        self._ballast = ballast
        self._counters = counters

    def may_hold(self, row: SeriesRow) -> bool:
        """Tell whether a version may be held: not deleted, and nothing newer is known."""
        name, version = lineage_of(row.key), row.series.version_id
        if self._tombstones.covers(name, version):
            return False
        if row.series.image_set_id is None:
            # Such an archive has no versions, only answers; the one asked for last is the newest.
            return all(one.asked_at <= row.asked_at for one in self._index.copy.of_lineage(name))
        known = self._index.lineage(name)
        return not known.deleted and version >= known.highest_version

    def confirm(self, origin_id: str, what: Prepared, *, asked_at: float) -> bool:
        """Tell whether these very metadata are held already; it is noted when they were asked for.

        Raises:
            NodeUnavailableError: the index cannot be written.
        """
        key = series_key(origin_id, what.metadata.series)
        held = self._index.copy.rows.get(key)
        digest = hashlib.sha256(what.packed).hexdigest()
        if held is None or held.metadata.sha256 != digest:
            return False
        with self._index.changing():
            stored = self._index.stored_row(key)
            if stored is None or stored.segment != held.segment:
                return False
            asked_at = max(asked_at, stored.asked_at)
            self._index.put_series(stored.model_copy(update={"asked_at": asked_at}))
        return True

    def put(self, fresh: SeriesRow) -> tuple[SeriesRow, list[SeriesRow]]:
        """The row that is held from now on, and those that are no longer.

        It is not `fresh` if another process was first with the same metadata.

        Raises:
            StudyNotFoundError: the series was deleted, or a newer version is known.
            NodeUnavailableError: the index cannot be written.
        """
        name = lineage_of(fresh.key)
        self._index.refresh()
        with self._index.changing():
            if not self.may_hold(fresh):
                raise StudyNotFoundError("series: deleted, or replaced by a newer version")
            highest = LineageRow(highest_version=fresh.series.version_id)
            self._index.put_lineage(name, highest)
            stored = self._index.stored_row(fresh.key)
            if stored is not None and stored.metadata.sha256 == fresh.metadata.sha256:
                return stored, []
            older = self._reconciler.remove_stored(self._index.copy.of_lineage(name))
            self._index.put_series(fresh)
        return fresh, older

    def purge(self, origin_id: str, image_set_id: str, below_version: int | None) -> Purged:
        """Forget an image set, or its versions below one, for good.

        The tombstone comes first: from then on nothing is served, by no process. Then files go,
        which gives a full disk room, and rows, which may also wait for the next start.

        Raises:
            NodeUnavailableError: the tombstone could not be written, or something was found
                after it.
        """
        name = image_set_lineage(origin_id, image_set_id)
        self._index.refresh()
        doomed = [
            row
            for row in self._index.copy.of_lineage(name)
            if below_version is None or row.series.version_id < below_version
        ]
        frames = sum(map(self._frames_in, doomed))
        self._tombstones.add(name, below_version)
        self._index.refresh()
        freed = sum(self._remove_files(row, is_deleted=below_version is None) for row in doomed)
        if below_version is None:
            freed += self._files.remove_superseded(lineage=name)
        self._remove_rows(name, below_version, doomed)
        self._index.forget_deleted()
        self._ballast.restore()
        purged = Purged(len(doomed), frames, freed, self._found_of(name, below_version))
        self._counters.add("purges")
        self._counters.add("purged_versions", purged.versions)
        _LOG.info("store: purged %s", asdict(purged))
        if purged.found_after:
            raise NodeUnavailableError("store: something was found after a purge")
        return purged

    def _frames_in(self, row: SeriesRow) -> int:
        try:
            return len(self._index.frames(row))
        except CorruptPayloadError:
            return 0  # its rows are damaged, and go with it

    def _remove_files(self, row: SeriesRow, *, is_deleted: bool) -> int:
        if is_deleted:
            return self._files.remove(row.segment)
        self._files.supersede(row.segment)
        return row.metadata.length_bytes

    def _remove_rows(self, name: str, below_version: int | None, rows: list[SeriesRow]) -> None:
        def remove() -> None:
            with self._index.changing():
                # A second time, lest a rotten tombstone revive it.
                known = self._index.lineage(name)
                highest = max(known.highest_version, below_version or 0)
                deleted = known.deleted or below_version is None
                self._index.put_lineage(name, LineageRow(highest_version=highest, deleted=deleted))
                self._reconciler.remove_stored(rows)
                if deleted:
                    self._forget_in_plans(name, {one.series.study_instance_uid for one in rows})

        try:
            self._ballast.dropped_if_needed(remove)
        except NodeUnavailableError:
            # The tombstone keeps them from everybody, and the next start removes them.
            _LOG.warning("store: rows of a purge are removed later")

    def _forget_in_plans(self, name: str, studies: set[str]) -> None:
        gone = {study for study in studies if not self._index.copy.of_study(study)}
        for plan in [*self._index.copy.plans.values()]:
            if name in plan.uses or gone & plan.ranks.keys():
                uses = {key: use for key, use in plan.uses.items() if key != name}
                ranks = {key: rank for key, rank in plan.ranks.items() if key not in gone}
                self._index.put_plan(plan.model_copy(update={"uses": uses, "ranks": ranks}))

    def _found_of(self, name: str, below_version: int | None) -> int:
        self._index.refresh()
        shown = [
            row
            for row in self._index.copy.of_lineage(name)
            if row.key in self._index.copy.rows
            and (below_version is None or row.series.version_id < below_version)
        ]
        files = self._files.of_lineage(name) if below_version is None else []
        return len(shown) + len(files)
