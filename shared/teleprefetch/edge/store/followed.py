"""A database that several processes write: followed into memory, healed when it is damaged.

A commit of any process writes numbered change rows; a reader that sees a new generation reloads
only what changed, so that a hit costs two dictionaries and no row.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from teleprefetch.edge.store.copied_rows import CopiedRows
from teleprefetch.edge.store.counters import Counters
from teleprefetch.edge.store.database import Database, IndexDamagedError, set_aside
from teleprefetch.edge.store.generation import Generation
from teleprefetch.edge.store.rows import PlanRow, SeriesRow, load_row
from teleprefetch.edge.store.tombstones import Tombstones
from teleprefetch.edge.store.write_lock import WriteLock
from teleprefetch.errors import CorruptPayloadError, NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)
CHANGES_KEPT: Final = 10_000
_REOPEN_AFTER_S: Final = 1.0


class Followed:
    """The database and its copy in memory. Writes happen inside `changing()`, reads anywhere.

    Args:
        root: the store's directory.
        tombstones: what is gone for good; never answered, whatever the database says.
        counters: for what is refused and rebuilt.
        patience_s: how long a change waits for other processes.
    """

    def __init__(
        self, root: Path, *, tombstones: Tombstones, counters: Counters, patience_s: float
    ) -> None:
        self._directory = root / "index"
        self._tombstones = tombstones
        self._counters = counters
        self._patience_s = patience_s
        self._generation = Generation(root / "generation")
        self._write_lock = WriteLock(root / "writing", patience_s=patience_s)
        self._lock = threading.RLock()
        self._copy = CopiedRows(tombstones)
        self._database: Database | None = None
        self._seen = -1
        self._settled: int | None = None
        self._tombstones_seen = -1
        self._tried_at_s = 0.0
        self.must_reconcile = False

    def open(self) -> None:
        """Open the database; a damaged one is set aside, and a new one begun.

        Raises:
            NodeUnavailableError: it cannot be opened, for want of room or by a lock.
        """
        with self._lock:
            try:
                self._open()
            except IndexDamagedError:
                self._replace()
            self._follow()

    @property
    def is_open(self) -> bool:
        """True unless the disk was too full for the database."""
        return self._database is not None

    @property
    def copy(self) -> CopiedRows:
        """The rows as of the last `refresh`."""
        return self._copy

    def close_thread(self) -> None:
        """Close this thread's connection; each thread that used the index closes its own."""
        if self._database is not None:
            self._database.close_thread()

    def close(self) -> None:
        """Close the database and what is shared with other processes."""
        if self._database is not None:
            self._database.close()
        self._generation.close()
        self._write_lock.close()

    def size_bytes(self) -> int:
        """What the index takes on the disk."""
        return 0 if self._database is None else self._database.size_bytes()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction; all of it or nothing; nobody else changes anything meanwhile.

        Raises:
            NodeUnavailableError: it could not be written.
        """
        try:
            with self._write_lock.held():
                database = self._current()
                self._generation.begin()
                try:
                    with database.transaction():
                        yield
                finally:
                    self._generation.end()
        except IndexDamagedError:
            self._heal()
            raise NodeUnavailableError("store: the index was damaged, and is made anew") from None
        self.refresh()

    def refresh(self) -> None:
        """Follow what this and other processes have changed."""
        settled = self._generation.settled
        buried = self._tombstones.refresh()
        if settled is not None and settled == self._settled and buried == self._tombstones_seen:
            return
        try:
            with self._lock:
                if buried != self._tombstones_seen:
                    self._copy.bury()
                    self._tombstones_seen = buried
                if self._database is not None:
                    self._reopen_if_replaced()
                    self._follow()
                self._settled = settled
        except IndexDamagedError:
            self._heal()

    @property
    def _open_database(self) -> Database:
        if self._database is None:
            raise NodeUnavailableError("store: there is no room for the index")
        return self._database

    def _text(self, key: str) -> str:
        return "" if self._database is None else self._database.text(key)

    def _open(self) -> None:
        self._database = Database(self._directory, timeout_s=self._patience_s)
        self._counters.add("refused_entries", self._database.refused)

    def _current(self) -> Database:
        """The database to write to, opened anew if another process replaced it."""
        with self._lock:
            if self._database is None:
                if time.monotonic() < self._tried_at_s + _REOPEN_AFTER_S:
                    raise NodeUnavailableError("store: there is no room for the index")
                self._tried_at_s = time.monotonic()
                self._open()
                self._seen, self.must_reconcile = -1, True
            self._reopen_if_replaced()
            return self._open_database

    def _reopen_if_replaced(self) -> None:
        if self._database is not None and not self._database.is_current():
            self._database.close()
            self._open()
            self._seen = -1

    def _heal(self) -> None:
        """Set a database aside that was found damaged, unless another process has done so."""
        with self._write_lock.held(), self._lock:
            if self._database is None or self._database.is_current():
                if self._database is not None:
                    self._database.close()
                self._replace()
            self._generation.begin()
            self._generation.end()
            self._seen = -1
        self.must_reconcile = True

    def _replace(self) -> None:
        _LOG.error("store: the index is damaged; it is set aside and made anew from the files")
        self._counters.add("index_rebuilds")
        set_aside(self._directory)
        self._open()
        self.must_reconcile = True

    def _follow(self) -> None:
        database = self._open_database
        latest = database.number("changes")
        if self._seen < 0 or latest < self._seen or latest - self._seen >= CHANGES_KEPT:
            self._copy.clear()
            for key in database.keys("series/", "plan/"):
                self._load(key)
        else:
            for number in range(self._seen + 1, latest + 1):
                self._load(database.text(f"change/{number}"))
        self._seen = latest

    def _load(self, key: str) -> None:
        kind, _, name = key.partition("/")
        try:
            text = self._text(key)
            if kind == "plan":
                self._copy.put_plan(name, load_row(text, PlanRow) if text else None)
            elif not text:
                self._copy.drop(name)
            else:
                self._copy.put(load_row(text, SeriesRow))
        except CorruptPayloadError:
            # Its file tells all that the row should have told.
            self._counters.add("refused_entries")
            self._copy.drop(name)
            self.must_reconcile = True
