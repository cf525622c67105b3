"""The store's index: what it holds of each series, in rows of a database and in memory."""

from typing import Final

from teleprefetch.edge.store.database import IndexDamagedError, forget_set_aside
from teleprefetch.edge.store.followed import CHANGES_KEPT, Followed
from teleprefetch.edge.store.rows import (
    FrameName,
    HeldFrame,
    LineageRow,
    PlanRow,
    SeriesRow,
    dump_group,
    dump_row,
    load_group,
    load_row,
)

_FRAMES_IN_A_GROUP: Final = 500


class Index(Followed):
    """Rows of series, frames, plans and lineages.

    Without a database - the disk is too full to open one - it holds what `adopt` is given, in
    memory, and each change tries to open the database again.
    """

    def frames(self, row: SeriesRow) -> dict[FrameName, HeldFrame]:
        """The committed frames of a version; not to be changed.

        Raises:
            CorruptPayloadError: one of its rows is damaged.
        """
        groups, frames = self._copy.known_frames(row)
        if groups >= row.groups:
            return frames
        with self._lock:
            groups, _ = self._copy.known_frames(row)
            try:
                texts = [self._text(f"group/{row.segment}/{n}") for n in range(groups, row.groups)]
                if "" in texts and not self._is_stored(row):
                    return {}  # removed since the row was read
            except IndexDamagedError:
                texts = []
            else:
                return self._copy.add_groups(row, map(load_group, texts))
        self._heal()
        return {}

    def _is_stored(self, row: SeriesRow) -> bool:
        stored = self.stored_row(row.key)
        return stored is not None and stored.segment == row.segment

    def lineage(self, name: str) -> LineageRow:
        """What was last known of a series in all its versions."""
        text = self._text(f"lineage/{name}")
        return load_row(text, LineageRow) if text else LineageRow()

    def stored_row(self, key: str) -> SeriesRow | None:
        """One version as the database has it now, for decisions inside a transaction."""
        text = self._text(f"series/{key}")
        return load_row(text, SeriesRow) if text else None

    def put_lineage(self, name: str, row: LineageRow) -> None:
        """Remember what is known of a series in all its versions."""
        self._open_database.set(f"lineage/{name}", dump_row(row))

    def put_series(self, row: SeriesRow) -> None:
        """Hold a version, without frames."""
        self._open_database.set(f"series/{row.key}", dump_row(row))
        self._note(f"series/{row.key}")

    def put_plan(self, plan: PlanRow) -> None:
        """Hold a plan."""
        self._open_database.set(f"plan/{plan.prefetch_id}", dump_row(plan))
        self._note(f"plan/{plan.prefetch_id}")

    def remove_plan(self, prefetch_id: str) -> None:
        """Forget a plan."""
        self._open_database.delete(f"plan/{prefetch_id}")
        self._note(f"plan/{prefetch_id}")

    def add_group(self, row: SeriesRow, frames: tuple[HeldFrame, ...], end_bytes: int) -> SeriesRow:
        """Make one more group of frames visible; `end_bytes` is where the segment now ends."""
        self._open_database.set(f"group/{row.segment}/{row.groups}", dump_group(frames))
        grown = row.model_copy(update={"groups": row.groups + 1, "segment_bytes": end_bytes})
        self.put_series(grown)
        return grown

    def remove(self, row: SeriesRow) -> None:
        """Forget a version and all that belongs to it."""
        for number in range(row.groups):
            self._open_database.delete(f"group/{row.segment}/{number}")
        self._open_database.delete(f"series/{row.key}")
        self._note(f"series/{row.key}")

    def adopt(self, row: SeriesRow, frames: list[HeldFrame]) -> None:
        """Hold what a segment's file tells; in memory alone if there is no database.

        Inside `changing()` if there is one.
        """
        if self._database is None:
            self._copy.put(row.model_copy(update={"groups": 1}))
            self._copy.add_groups(row.model_copy(update={"groups": 1}), [frames])
            return
        self.put_series(row.model_copy(update={"groups": 0}))
        grown = row.model_copy(update={"groups": 0})
        for at in range(0, len(frames), _FRAMES_IN_A_GROUP):
            chunk = tuple(frames[at : at + _FRAMES_IN_A_GROUP])
            grown = self.add_group(grown, chunk, row.segment_bytes)

    def forget_deleted(self) -> None:
        """Leave nothing of what was deleted in the database's log, nor in a damaged database."""
        forget_set_aside(self._directory)
        if self._database is not None:
            self._database.empty_log()

    def _note(self, key: str) -> None:
        database = self._open_database
        number = database.number("changes") + 1
        database.set(f"change/{number}", key)
        database.set("changes", number)
        database.delete(f"change/{number - CHANGES_KEPT}")
