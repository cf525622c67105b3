"""Whoever reads a node's audit at a terminal is recorded in it."""

import getpass
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit import reading
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog

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
