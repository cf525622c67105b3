"""An audit with something to tell: a week of studies warmed, opened, late and wasted."""

from datetime import datetime, timedelta
from pathlib import Path

from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from tests.audit_builders import NODE, a_record

MB = 1_000_000


def an_audit(folder: Path, now: datetime) -> Path:
    """Two days, on each 4 frames of 8 MB as current and as prior: all opened, then one of four.

    The prior's of the second day came late, from the archive. An hour ago, 1.2.3 was opened.
    """
    time = now
    log = AuditLog(Lane(folder, node=NODE, name="worker"), clock=lambda: time)
    for days, opened in ((2, "1-4"), (1, "1")):
        time = now - timedelta(days=days)
        for rank in (0, 1):
            study = f"1.2.{days}{rank}"
            detail = {"rank": rank, "frames": 4, "bytes": 8 * MB, "modality": "CT"}
            log.commit(a_record(kind="warmed", study=study, series=f"{study}.1", detail=detail))
            if rank == 0 or days == 2:
                log.commit(
                    a_record(study=study, series=f"{study}.1", frames=opened, size_bytes=2 * MB)
                )
    log.commit(
        a_record(study="1.2.11", series="1.2.11.1", frames="1", size_bytes=2 * MB, source="origin")
    )
    time = now - timedelta(hours=1)
    log.commit(a_record(study="1.2.3", series="1.2.3.1", frames="1-3", subject="reader-1"))
    log.close()
    return folder
