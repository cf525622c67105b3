"""Opens the doorway of one process of a node by the node's settings."""

import logging
import sqlite3
from pathlib import Path
from typing import Final

from teleprefetch.adapters.keys import KeyRing
from teleprefetch.domain.tokens.verifier import Verifier
from teleprefetch.edge.access.doorway import NodeDoorway
from teleprefetch.edge.access.identifying import Identifying
from teleprefetch.edge.access.policies import PolicyWatch, policies_folder
from teleprefetch.edge.audit.opening import Audit
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import read_policies
from teleprefetch.edge.policy.gatekeeper import Gatekeeper
from teleprefetch.edge.policy.reading_list import ReadingList
from teleprefetch.edge.watching.board import Board
from teleprefetch.edge.watching.lanes import ANSWERS, tell_audit
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError, PrefetchError
from teleprefetch.settings import NodeSettings
from teleprefetch.token_settings import token_issuers

_LOG: Final = logging.getLogger(__name__)
_READINGS: Final = "readings.sqlite"


def open_readings(settings: NodeSettings) -> ReadingList:
    """The node's reading list; its processes share it.

    One that is damaged is put aside, and an empty one begun: until orders come again, readers
    have what an emergency opens. A node that does not start would leave them nothing.

    Raises:
        NodeUnavailableError: it cannot be opened.
    """
    path = Path(settings.store_path) / _READINGS
    try:
        return ReadingList(path)
    except NodeUnavailableError as error:
        if type(error.__cause__) is not sqlite3.DatabaseError:  # locked, or no room: not damage
            raise
    _LOG.critical("the reading list is damaged; it is put aside, and nobody is assigned anything")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(part.with_name(f"damaged-{part.name}"))
    return ReadingList(path)


class Access:
    """A doorway, and what it stands on.

    Args:
        settings: the node's; its store's folder exists.
        lane: of the audit, this process' own.
        board: counters.

    Raises:
        InvalidPayloadError: a setting cannot be used; the message names it.
        NodeUnavailableError: the reading list or the audit's lane cannot be opened.
    """

    def __init__(self, settings: NodeSettings, *, lane: str, board: Board) -> None:
        issuers = token_issuers({"TOKEN_ISSUERS": settings.token_issuers})
        folder = policies_folder(settings.policies_path)
        try:
            policies = CedarPolicies(read_policies(folder))
        except InvalidPayloadError as error:
            raise InvalidPayloadError(f"settings.policies_path: {error}") from error
        self._board = board
        self._readings = open_readings(settings)
        try:
            self._audit = Audit(settings, lane)
        except PrefetchError:
            self._readings.close()
            raise
        log = self._audit.log
        self._keys = KeyRing(issuers, report=_report)
        gate = Gatekeeper(
            policies,
            readings=self._readings,
            node=settings.node,
            locations=settings.reading_locations,
        )
        self._watch = PolicyWatch(folder, gate=gate, log=log)
        self.doorway = NodeDoorway(
            Identifying(
                Verifier(issuers, self._keys),
                generation=self._keys.generation,
                role_groups=settings.role_groups,
            ),
            gate=gate,
            log=log,
            at_sweep=self._sweep,
        )
        self._keys.warm_up()

    def close(self) -> None:
        """Write down what was counted, and sign the end; the server is closed before."""
        self.doorway.flush()
        self._audit.close()
        self._keys.close()
        self._readings.close()

    def _sweep(self) -> None:
        self._watch.look()
        tell_audit(self._board, self._audit, ANSWERS)


def lane_of(slot: int) -> str:
    """The lane of a process that answers."""
    return f"serve-{slot}"


def _report(_issuer: str, news: str) -> None:
    _LOG.warning("keys of an issuer of tokens: %s", news)
