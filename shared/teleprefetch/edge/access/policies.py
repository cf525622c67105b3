"""Policies in force, read again when their files change."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import DEFAULT_FOLDER, read_policies
from teleprefetch.edge.policy.gatekeeper import Gatekeeper
from teleprefetch.errors import InvalidPayloadError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 1.0
_LONGEST_REASON: Final = 1000
_State = tuple[tuple[str, int, int], ...]


def policies_folder(path: str) -> Path:
    """The folder of the setting; empty means the shipped policies."""
    return Path(path) if path else DEFAULT_FOLDER


class PolicyWatch:
    """Has the gatekeeper use what the files say now; what does not hold changes nothing.

    Args:
        folder: of the policies.
        gate: decides by them.
        log: is told of every change, and of every one that was refused.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gate: Gatekeeper,
        log: AuditLog,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._gate = gate
        self._log = log
        self._timer = timer
        self._state = _state_of(folder)
        self._look_at_s = 0.0

    def look(self) -> None:
        """Read the files if they have changed, once a second at most; waits for the disk."""
        now_s = self._timer()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        state = _state_of(self._folder)
        if state == self._state:
            return
        self._state = state
        try:
            files = read_policies(self._folder)
        except InvalidPayloadError as error:
            _LOG.error("policies are refused, those before stay in force: %s", error)
            self._record(
                AuditRecord(
                    kind="policy-refused",
                    reason=str(error)[:_LONGEST_REASON],
                    policy_set=self._gate.policy_set,
                )
            )
            return
        self._gate.use(CedarPolicies(files))
        _LOG.warning("policies have changed: %s", files.version)
        self._record(AuditRecord(kind="policy-changed", policy_set=files.version))

    def _record(self, record: AuditRecord) -> None:
        try:
            self._log.commit(record)
        except PrefetchError as error:
            _LOG.critical("audit: a change of policies: %s", error)


def _state_of(folder: Path) -> _State:
    found = []
    for path in sorted((*folder.glob("*.cedar"), *folder.glob("*.cedarschema"))):
        try:
            stat = path.stat()
        except FileNotFoundError:  # replaced while it is looked at: the next look tells
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
