"""The index's file: a diskcache, opened once it is whole and holds nothing foreign."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from diskcache import Cache, Timeout

from teleprefetch.edge.store.bytes_disk import BytesDisk
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError

FORMAT: Final = 2
_LOG: Final = logging.getLogger(__name__)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SETTINGS: Final = {
    # Values stay in SQLite: diskcache's value files are neither synced nor part of a transaction.
    "disk_min_file_size": 1 << 30,
    "size_limit": 1 << 62,
    "cull_limit": 0,
    "eviction_policy": "none",
    "sqlite_synchronous": 2,  # FULL: what was committed outlasts a power cut
    "sqlite_secure_delete": 1,  # what was purged is overwritten
    "sqlite_cache_size": 512,  # pages, for each thread
    "sqlite_mmap_size": 0,  # a file cut short under a mapping would be a fatal signal
}
_OTHER_SETTINGS: Final = frozenset(
    {
        "count",
        "size",
        "hits",
        "misses",
        "statistics",
        "tag_index",
        "disk_pickle_protocol",
        "sqlite_auto_vacuum",
        "sqlite_journal_mode",
    }
)


class IndexDamagedError(Exception):
    """The file is no SQLite database, or is damaged; never leaves the index."""


class Database:
    """Rows of text and numbers by key.

    Args:
        directory: the file's.
        timeout_s: how long to wait for another process that writes.

    Raises:
        IndexDamagedError: the file is damaged.
        NodeUnavailableError: it cannot be opened, for want of room or by a lock.
    """

    def __init__(self, directory: Path, *, timeout_s: float) -> None:
        self._path = directory / "cache.db"
        self.refused = 0
        with _errors():
            if self._path.exists():
                self.refused = _cleaned(self._path, timeout_s)
            self._cache = Cache(str(directory), timeout=timeout_s, disk=BytesDisk, **_SETTINGS)
            self._keeper = sqlite3.connect(self._path, timeout_s, check_same_thread=False)
            # A connection that does nothing: while one is open SQLite keeps its log and shared
            # memory. Without, the next reader has to make them, which a full disk refuses.
            self._keeper.execute("SELECT key FROM Settings LIMIT 1").fetchone()
            self._identity = self._path.stat().st_ino
            self._set_format()

    def is_current(self) -> bool:
        """Tell whether the file is still the one that was opened; others may replace it."""
        try:
            return self._path.stat().st_ino == self._identity
        except FileNotFoundError:
            return False

    def size_bytes(self) -> int:
        """What the file and its log take on the disk."""
        total = 0
        for name in ("cache.db", "cache.db-wal", "cache.db-shm"):
            try:
                total += self._path.with_name(name).stat().st_size
            except FileNotFoundError:
                continue
        return total

    def text(self, key: str) -> str:
        """A text; empty if there is no row. Raises CorruptPayloadError if it is no text."""
        with _errors():
            value = self._cache.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value:
            raise CorruptPayloadError("store: a row has another type")
        return value

    def number(self, key: str) -> int:
        """A number; 0 if there is none. Raises CorruptPayloadError if it is something else."""
        with _errors():
            value = self._cache.get(key, 0)
        if not isinstance(value, int):
            raise CorruptPayloadError("store: a row has another type")
        return value

    def keys(self, *prefixes: str) -> list[str]:
        """The keys that begin with one of the prefixes."""
        with _errors():
            return [key for key in self._cache.iterkeys() if str(key).startswith(prefixes)]

    def set(self, key: str, value: str | int) -> None:
        """Write a row; inside `transaction`."""
        self._cache.set(key, value)

    def delete(self, key: str) -> None:
        """Delete a row; inside `transaction`."""
        self._cache.delete(key)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing.

        Raises:
            IndexDamagedError: the file is damaged.
            NodeUnavailableError: it could not be written.
        """
        try:
            with _errors(), self._cache.transact():
                yield
        except (NodeUnavailableError, IndexDamagedError):
            self._cache.close()  # SQLite may have left the transaction open: begin anew
            raise

    def empty_log(self) -> None:
        """Write what is in the log into the file, so that nothing deleted is left in the log."""
        with closing(sqlite3.connect(self._path, timeout=0.0)) as connection:
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:
                _LOG.info("store: the index's log is in use, and is emptied later")

    def close_thread(self) -> None:
        """Close this thread's connection."""
        self._cache.close()

    def close(self) -> None:
        """Close this thread's connection, and the one that kept the file open."""
        self._cache.close()
        self._keeper.close()

    def _set_format(self) -> None:
        if self._cache.get("format") == FORMAT:
            return
        with self._cache.transact():
            keys = list(self._cache.iterkeys())
            for key in keys:
                self._cache.delete(key)
            self._cache.set("format", FORMAT)
        if keys:
            self._cache.close()
            _LOG.warning("store: an index of another format was emptied")


def set_aside(directory: Path) -> None:
    """Move a damaged index beside, in the place of one that was damaged before."""
    aside = directory.with_name(f"{directory.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    directory.rename(aside)
    directory.mkdir(mode=0o700)


def forget_set_aside(directory: Path) -> None:
    """Remove what `set_aside` kept: it may name patients that were purged."""
    shutil.rmtree(directory.with_name(f"{directory.name}.damaged"), ignore_errors=True)


def _cleaned(path: Path, timeout_s: float) -> int:
    """How many foreign rows were deleted: pickled ones, ones in files, and unknown settings."""
    with closing(sqlite3.connect(path, timeout_s, isolation_level=None)) as connection:
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise IndexDamagedError
        # diskcache would wait for a minute for whoever holds the lock.
        connection.execute("BEGIN IMMEDIATE").execute("COMMIT")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if not {"Cache", "Settings"} <= tables:
            return 0
        known = (*_SETTINGS, *_OTHER_SETTINGS)
        foreign = f"key NOT IN ({','.join('?' * len(known))})"
        found = connection.execute(
            "SELECT count(*) FROM Cache WHERE raw <> 1 OR mode <> 1 OR filename IS NOT NULL"
            " OR typeof(key) <> 'text' OR typeof(value) NOT IN ('text', 'integer')"
        ).fetchone()[0]
        settings = f"SELECT count(*) FROM Settings WHERE {foreign}"  # noqa: S608  # only marks
        found += connection.execute(settings, known).fetchone()[0]
        if found:
            connection.execute(
                "DELETE FROM Cache WHERE raw <> 1 OR mode <> 1 OR filename IS NOT NULL"
                " OR typeof(key) <> 'text' OR typeof(value) NOT IN ('text', 'integer')"
            )
            connection.execute(f"DELETE FROM Settings WHERE {foreign}", known)  # noqa: S608
            _LOG.warning("store: %d rows of the index were refused and deleted", found)
        return int(found)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise IndexDamagedError from error
        raise NodeUnavailableError("store: the index cannot be read or written") from error
    except (sqlite3.Error, Timeout, OSError) as error:
        raise NodeUnavailableError("store: the index cannot be read or written") from error
