"""The index's rows in memory: by key, by study, by lineage; and what the plans want of them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from teleprefetch.edge.store.rows import FrameName, HeldFrame, PlanRow, SeriesRow, lineage_of
from teleprefetch.edge.store.tombstones import Tombstones
from teleprefetch.edge.store.usefulness import Wanted

_NOTHING: Final[tuple[str, int, dict[FrameName, HeldFrame]]] = ("", 0, {})


class CopiedRows:
    """Rows as the database has them, less those that a tombstone covers; locked by its owner.

    Dictionaries are replaced or changed one key at a time, so that readers need no lock. `revision`
    is another number after each change, so that who has compared rows need not do so again.
    """

    def __init__(self, tombstones: Tombstones) -> None:
        self._tombstones = tombstones
        self.revision = 0
        self.segment_bytes = 0
        self.rows: dict[str, SeriesRow] = {}
        self.buried: dict[str, SeriesRow] = {}
        self.plans: dict[str, PlanRow] = {}
        self._by_study: dict[str, dict[str, SeriesRow]] = defaultdict(dict)
        self._by_lineage: dict[str, dict[str, SeriesRow]] = defaultdict(dict)
        self._frames: dict[str, tuple[str, int, dict[FrameName, HeldFrame]]] = {}
        self._wanted: dict[str, Wanted] | None = None

    def clear(self) -> None:
        """Begin anew."""
        for key in [*self.rows, *self.buried]:
            self.drop(key)
        self._frames.clear()
        self.plans.clear()
        self._wanted = None

    def put(self, row: SeriesRow) -> None:
        """Take a row in, or in the place of what it was."""
        key = row.key
        old = self.rows.get(key)
        if self._is_covered(row):
            self.drop(key)
            self._hide(row)
            return
        self.segment_bytes += row.size_bytes - (old.size_bytes if old is not None else 0)
        self.rows[key] = row
        self._by_study[row.series.study_instance_uid][key] = row
        self._by_lineage[lineage_of(key)][key] = row
        self.revision += 1

    def drop(self, key: str) -> None:
        """Take a row out."""
        self.buried.pop(key, None)
        self._frames.pop(key, None)
        _take_out(self._by_lineage, lineage_of(key), key)
        old = self.rows.pop(key, None)
        if old is not None:
            self.segment_bytes -= old.size_bytes
            _take_out(self._by_study, old.series.study_instance_uid, key)
        self.revision += 1

    def bury(self) -> None:
        """Take out what tombstones cover now."""
        for row in list(self.rows.values()):
            if self._is_covered(row):
                self.drop(row.key)
                self._hide(row)

    def of_study(self, study_instance_uid: str) -> list[SeriesRow]:
        """What is held of a study, newest first."""
        rows = list(self._by_study.get(study_instance_uid, {}).values())
        return sorted(rows, key=lambda row: row.stored_at, reverse=True)

    def of_lineage(self, name: str) -> list[SeriesRow]:
        """All versions held of a series, the buried ones too."""
        return list(self._by_lineage.get(name, {}).values())

    def known_frames(self, row: SeriesRow) -> tuple[int, dict[FrameName, HeldFrame]]:
        """How many groups of a version were read already, and the frames of those."""
        segment, groups, frames = self._frames.get(row.key, _NOTHING)
        return (groups, frames) if segment == row.segment else (0, {})

    def add_groups(
        self, row: SeriesRow, more: Iterable[list[HeldFrame]]
    ) -> dict[FrameName, HeldFrame]:
        """All frames of a version, with the groups that were not read before."""
        frames = dict(self.known_frames(row)[1])
        for group in more:
            for frame in group:
                frames.pop(frame.name, None)
                if frame.length_bytes:
                    frames[frame.name] = frame
        self._frames[row.key] = (row.segment, row.groups, frames)
        return frames

    def put_plan(self, prefetch_id: str, plan: PlanRow | None) -> None:
        """Take a plan in, or out."""
        self.plans.pop(prefetch_id, None)
        if plan is not None:
            self.plans[prefetch_id] = plan
        self._wanted = None

    def wanted(self) -> dict[str, Wanted]:
        """What all plans together want, by lineage."""
        if self._wanted is None:
            wanted: dict[str, Wanted] = {}
            for plan in list(self.plans.values()):
                for name, use in plan.uses.items():
                    known = wanted.get(name)
                    first = Wanted(use=use, asked_at=plan.asked_at, until=plan.until)
                    wanted[name] = first if known is None else known.and_by(plan, use)
            self._wanted = wanted
        return self._wanted

    def _is_covered(self, row: SeriesRow) -> bool:
        return self._tombstones.covers(lineage_of(row.key), row.series.version_id)

    def _hide(self, row: SeriesRow) -> None:
        self.buried[row.key] = row
        self._by_lineage[lineage_of(row.key)][row.key] = row


def _take_out(groups: dict[str, dict[str, SeriesRow]], name: str, key: str) -> None:
    group = groups.get(name, {})
    group.pop(key, None)
    if not group:
        groups.pop(name, None)
