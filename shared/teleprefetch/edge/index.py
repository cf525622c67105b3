"""The store's index: rows in diskcache, and a copy of them in memory that follows every change.

A commit of any process writes a numbered change row; a reader compares one number and reloads
only what changed, so that a hit costs one row and two dictionaries.
"""

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from diskcache import Cache, Timeout

from teleprefetch.edge.bytes_disk import BytesDisk
from teleprefetch.edge.rows import (
    FrameName,
    HeldFrame,
    LineageRow,
    SeriesRow,
    dump_group,
    load_group,
)
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError

_CHANGES_KEPT: Final = 10_000
# Values stay in SQLite: diskcache's value files are neither synced nor part of a transaction.
_NEVER_A_FILE: Final = 1 << 30
_SYNCHRONOUS_FULL: Final = 2


class Index:
    """What the store holds. Writes happen inside `changing()`, reads anywhere."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._seen = -1
        self.segment_bytes = 0
        self._rows: dict[str, SeriesRow] = {}
        self._hidden: dict[str, SeriesRow] = {}
        self._by_study: dict[str, set[str]] = defaultdict(set)
        self._frames: dict[str, tuple[str, int, dict[FrameName, HeldFrame]]] = {}
        with _index_errors():
            self._cache = Cache(
                str(directory),
                disk=BytesDisk,
                disk_min_file_size=_NEVER_A_FILE,
                size_limit=1 << 62,
                cull_limit=0,
                eviction_policy="none",
                sqlite_synchronous=_SYNCHRONOUS_FULL,
            )
            self._keeper = _keep_open(directory / "cache.db")
        self.refresh()

    def close_thread(self) -> None:
        """Close this thread's connection; each thread that used the index closes its own."""
        self._cache.close()

    def close(self) -> None:
        """Close this thread's connection, and the one that kept the index open."""
        self._cache.close()
        self._keeper.close()

    def size_bytes(self) -> int:
        """What the index takes on the disk."""
        files = (self._directory / name for name in ("cache.db", "cache.db-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction; all of it or nothing.

        Raises:
            NodeUnavailableError: it could not be written.
        """
        try:
            with _index_errors(), self._cache.transact():
                yield
        except NodeUnavailableError:
            self._cache.close()  # SQLite may have left the transaction open: begin anew
            raise
        self.refresh()

    def refresh(self) -> None:
        """Follow what this and other processes have changed."""
        latest = self._number("changes")
        with self._lock:
            if self._seen < 0 or latest - self._seen >= _CHANGES_KEPT:
                self._load_all()
            else:
                for number in range(self._seen + 1, latest + 1):
                    self._load(self._text(f"change/{number}"))
            self._seen = max(self._seen, latest)

    def row(self, key: str) -> SeriesRow | None:
        """One version of a series, if held."""
        return self._rows.get(key)

    def rows(self) -> list[SeriesRow]:
        """Everything held, oldest first."""
        with self._lock:
            return sorted(self._rows.values(), key=lambda row: row.stored_at)

    def of_study(self, study_instance_uid: str) -> list[SeriesRow]:
        """What is held of a study, newest first."""
        with self._lock:
            rows = [self._rows[key] for key in self._by_study.get(study_instance_uid, ())]
        return sorted(rows, key=lambda row: row.stored_at, reverse=True)

    def of_lineage(self, name: str) -> list[SeriesRow]:
        """All versions held of a series, the hidden ones too."""
        with self._lock:
            held = self._hidden | self._rows
        return [row for key, row in held.items() if key.startswith(f"{name}/")]

    def frames(self, row: SeriesRow) -> dict[FrameName, HeldFrame]:
        """The committed frames of a version; a copy."""
        with self._lock:
            return dict(self._frames_of(row))

    def frame(self, row: SeriesRow, name: FrameName) -> HeldFrame | None:
        """One committed frame of a version."""
        with self._lock:
            return self._frames_of(row).get(name)

    def lineage(self, name: str) -> LineageRow:
        """What was last known of a series in all its versions."""
        text = self._text(f"lineage/{name}")
        return LineageRow.parse_json(text, at="store") if text else LineageRow()

    def sealed(self, kind: str, key: str) -> bytes | None:
        """A sealed value that belongs to a version."""
        with _index_errors():
            value = self._cache.get(f"{kind}/{key}")
        if value is not None and not isinstance(value, bytes):
            raise CorruptPayloadError("store: a row has another type")
        return value

    def put_lineage(self, name: str, row: LineageRow) -> None:
        """Remember what is known of a series in all its versions."""
        self._cache.set(f"lineage/{name}", row.model_dump_json())

    def put_series(self, row: SeriesRow, sealed: dict[str, bytes]) -> None:
        """Hold a version, with its sealed values by kind."""
        for kind, value in sealed.items():
            self._cache.set(f"{kind}/{row.key}", value)
        self._cache.set(f"series/{row.key}", row.model_dump_json())
        self._note(row.key)

    def add_group(self, row: SeriesRow, frames: tuple[HeldFrame, ...], end_bytes: int) -> None:
        """Make one more group of frames visible; `end_bytes` is where the segment now ends."""
        self._cache.set(f"group/{row.segment}/{row.groups}", dump_group(frames))
        grown = row.model_copy(update={"groups": row.groups + 1, "segment_bytes": end_bytes})
        self._cache.set(f"series/{row.key}", grown.model_dump_json())
        self._note(row.key)

    def remove(self, row: SeriesRow) -> None:
        """Forget a version and all that belongs to it."""
        for number in range(row.groups):
            self._cache.delete(f"group/{row.segment}/{number}")
        for kind in ("metadata", "entries", "series"):
            self._cache.delete(f"{kind}/{row.key}")
        self._note(row.key)

    def stored_row(self, key: str) -> SeriesRow | None:
        """One version as the database has it now, for decisions inside a transaction."""
        text = self._text(f"series/{key}")
        return SeriesRow.parse_json(text, at="store") if text else None

    def _note(self, key: str) -> None:
        number = self._number("changes") + 1
        self._cache.set(f"change/{number}", key)
        self._cache.set("changes", number)
        self._cache.delete(f"change/{number - _CHANGES_KEPT}")

    def _load_all(self) -> None:
        self.segment_bytes = 0
        self._rows.clear()
        self._by_study.clear()
        self._frames.clear()
        for key in list(self._cache.iterkeys()):
            if isinstance(key, str) and key.startswith("series/"):
                self._load(key.removeprefix("series/"))

    def hide(self, row: SeriesRow) -> None:
        """Answer no more of a version, in this process, though its row could not be removed."""
        with self._lock:
            self._unload(row.key)
            self._hidden[row.key] = row

    def _unload(self, key: str) -> None:
        old = self._rows.pop(key, None)
        if old is not None:
            self.segment_bytes -= old.segment_bytes
            study = self._by_study[old.series.study_instance_uid]
            study.discard(key)
            if not study:
                del self._by_study[old.series.study_instance_uid]

    def _load(self, key: str) -> None:
        self._unload(key)
        self._hidden.pop(key, None)
        row = self.stored_row(key)
        if row is None:
            self._frames.pop(key, None)
            return
        self.segment_bytes += row.segment_bytes
        self._rows[key] = row
        self._by_study[row.series.study_instance_uid].add(key)

    def _frames_of(self, row: SeriesRow) -> dict[FrameName, HeldFrame]:
        segment, groups, frames = self._frames.get(row.key, ("", 0, {}))
        if segment != row.segment:
            groups, frames = 0, {}
        for number in range(groups, row.groups):
            for frame in load_group(self._text(f"group/{row.segment}/{number}") or "[]"):
                frames.pop(frame.name, None)
                if frame.length_bytes:
                    frames[frame.name] = frame
        self._frames[row.key] = (row.segment, max(groups, row.groups), frames)
        return frames

    def _text(self, key: str) -> str:
        with _index_errors():
            value = self._cache.get(key, "")
        if not isinstance(value, str):
            raise CorruptPayloadError("store: a row has another type")
        return value

    def _number(self, key: str) -> int:
        with _index_errors():
            value = self._cache.get(key, 0)
        if not isinstance(value, int):
            raise CorruptPayloadError("store: a row has another type")
        return value


def _keep_open(database: Path) -> sqlite3.Connection:
    """A connection that does nothing: while one is open SQLite keeps its log and shared memory.

    Without, the next reader has to make them anew, which a full disk refuses.
    """
    connection = sqlite3.connect(database, check_same_thread=False)
    connection.execute("SELECT key FROM Settings LIMIT 1").fetchone()
    return connection


@contextmanager
def _index_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, Timeout, OSError) as error:
        raise NodeUnavailableError("store: the index cannot be read or written") from error
