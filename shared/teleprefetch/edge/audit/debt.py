"""What could not be recorded while nothing could be written, to be told as soon as it can be."""

import errno
import logging
import os
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from teleprefetch.domain.audit.entry import stamp
from teleprefetch.domain.audit.record import SERVING, AuditRecord

_LOG: Final = logging.getLogger(__name__)
_ALARM_EVERY_S: Final = 10.0
_MOST_KEPT: Final = 10_000
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Debt:
    """Counts, and keeps, what happened; open from the first failure on.

    What was served or otherwise happened is kept to be written late, up to a bound beyond which it
    is only counted. What was denied never happened and is counted.
    """

    def __init__(self) -> None:
        self.cause = ""
        self.is_full = False
        self._began_at = ""
        self._denied = self._lost = 0
        self._late: list[bytes] = []
        self._alarmed_at_s = -_ALARM_EVERY_S

    @property
    def is_open(self) -> bool:
        """True if something failed."""
        return bool(self._began_at)

    @property
    def events(self) -> int:
        """How many events it holds or counts."""
        return self._denied + self._lost + len(self._late)

    def open(self, error: OSError, at: datetime) -> None:
        """Begin, with the first failure."""
        self.cause = os.strerror(error.errno or 0)
        self.is_full = error.errno in _NO_ROOM
        self._began_at = stamp(at)

    @property
    def owed(self) -> int:
        """How many of them happened, and are not recorded."""
        return self._lost + len(self._late)

    def add(self, kind: str, body: bytes, *, was_denied: bool) -> bool:
        """Take in an event that could not be recorded; whether it is one that never happened."""
        is_denied = was_denied and (kind in SERVING or kind == "refused")
        if is_denied:
            self._denied += 1
        elif len(self._late) < _MOST_KEPT:
            self._late.append(body)
        else:
            self._lost += 1
        return is_denied

    def alarm(self, policy: str) -> None:
        """Say it in the log of the process, now and then."""
        if time.monotonic() - self._alarmed_at_s < _ALARM_EVERY_S:
            return
        self._alarmed_at_s = time.monotonic()
        _LOG.critical(
            "audit: cannot be written (%s); policy %s; %d events so far",
            self.cause,
            policy,
            self.events,
        )

    def records(self, at: datetime) -> Sequence[bytes]:
        """What to write first: that there was a gap, and the events that were kept."""
        if not self.is_open:
            return ()
        detail: dict[str, str | int] = {
            "began_at": self._began_at,
            "ended_at": stamp(at),
            "denied": self._denied,
            "late": len(self._late),
            "unrecorded": self._lost,
        }
        gap = AuditRecord(kind="gap", reason=self.cause, detail=detail)
        return (gap.canonical(), *self._late)
