"""Whoever reads a node's audit at a terminal is recorded in it."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit import reading
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.errors import InvalidPayloadError

_LANE: Final = "readers"
_MOST_ASKED: Final = 500


def record_reading(folder: Path, who: str | None, *, asked: str) -> None:
    """Record that somebody reads an audit, before they do; `who` else the login name.

    Raises:
        InvalidPayloadError: the folder holds no audit.
        NodeUnavailableError: the record cannot be written, or a reading is under way.
    """
    log = AuditLog(Lane(folder, node=reading.node_of(folder), name=_LANE))
    try:
        subject = who or getpass.getuser()
        log.commit(AuditRecord(kind="audit-read", subject=subject, reason=asked[:_MOST_ASKED]))
    finally:
        log.close()


def instant(text: str, name: str) -> datetime:
    """A time from an option; without an offset it is UTC.

    Raises:
        InvalidPayloadError: it is none in ISO 8601; the message names the option.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidPayloadError(f"{name}: not a time in ISO 8601") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def span_of(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The times of --since and --until, each None if it was not given.

    Raises:
        InvalidPayloadError: one is no time in ISO 8601; the message names the option.
    """
    return (
        instant(since, "--since") if since else None,
        instant(until, "--until") if until else None,
    )
