"""The readings that a node knows of, in a small database that its processes share.

The worker writes what comes with orders; servers read. A table row is one assignment; it goes when
its time ends, or when the worklist withdraws it.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from teleprefetch.domain.policy.readings import Reading
from teleprefetch.edge.audit.log import now
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, NodeUnavailableError

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS readings (
  assignment_id TEXT PRIMARY KEY, document TEXT NOT NULL, ends_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS studies (
  study TEXT NOT NULL,
  assignment_id TEXT NOT NULL REFERENCES readings ON DELETE CASCADE,
  PRIMARY KEY (study, assignment_id)
) STRICT, WITHOUT ROWID;
"""
_BUSY_S: Final = 5.0


class ReadingList:
    """Readings by study.

    Args:
        path: the database.
        clock: the time, by which readings end.

    Raises:
        NodeUnavailableError: the database cannot be opened.
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        with _in_our_words():
            self._connection = _opened(path)

    def put(self, reading: Reading) -> None:
        """Take in a reading, in place of an earlier one of the same assignment.

        Raises:
            NodeUnavailableError: it cannot be written.
        """
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM readings WHERE assignment_id = ? OR ends_at <= ?",
                (reading.assignment_id, self._clock().timestamp()),
            )
            connection.execute(
                "INSERT INTO readings VALUES (?, ?, ?)",
                (reading.assignment_id, reading.model_dump_json(), reading.ends_at.timestamp()),
            )
            connection.executemany(
                "INSERT INTO studies VALUES (?, ?)",
                [(study, reading.assignment_id) for study in reading.studies],
            )

    def withdraw(self, assignment_id: str) -> None:
        """Forget an assignment: it was taken back, or is read.

        Raises:
            NodeUnavailableError: it cannot be written.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM readings WHERE assignment_id = ?", (assignment_id,))

    def of_study(self, study_instance_uid: str) -> tuple[Reading, ...]:
        """The readings that name a study as the one to read or as a prior, and have not ended.

        Raises:
            NodeUnavailableError: the database cannot be read.
            CorruptPayloadError: a row is damaged.
        """
        query = (
            "SELECT document FROM studies JOIN readings USING (assignment_id)"
            " WHERE study = ? AND ends_at > ?"
        )
        with self._lock, _in_our_words():
            rows = self._connection.execute(
                query, (study_instance_uid, self._clock().timestamp())
            ).fetchall()
        try:
            return tuple(Reading.parse_json(row[0]) for row in rows)
        except InvalidPayloadError as error:
            raise CorruptPayloadError("reading list: a row is damaged") from error

    def version(self) -> int:
        """A number that changes whenever any process has changed the list."""
        with self._lock, _in_our_words():
            # data_version tells of others' commits, total_changes of this connection's
            (others,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(others) * 1_000_003 + self._connection.total_changes

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _in_our_words():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except sqlite3.Error:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise NodeUnavailableError(f"reading list: {type(error).__name__}") from error
