"""Signs where a lane stands, every so many records or seconds, and sends that elsewhere."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from teleprefetch.domain.audit.checkpoint import Checkpoint, SignedCheckpoint
from teleprefetch.domain.audit.entry import GENESIS, stamp
from teleprefetch.edge.audit.log import AuditLog, now
from teleprefetch.edge.audit.signing import Sign
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_POLL_S: Final = 0.5
_MOST_SENT_AT_ONCE: Final = 100
LOCAL: Final = "checkpoints"


class CheckpointSink(Protocol):
    """Where checkpoints are kept that this node cannot change any more."""

    def put(self, *, node: str, lane: str, number: int, document: bytes) -> None:
        """Keep a checkpoint; again with the same document is no error.

        Raises:
            CorruptPayloadError: another document is there under this number.
            OriginUnavailableError: it is not kept, or that is not known.
        """

    def after(self, *, node: str, lane: str, number: int) -> tuple[bytes, ...]:
        """The checkpoints of a lane with greater numbers, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When a checkpoint is due: that many records or seconds after the last; `idle_s` without any.

    An idle one proves that nothing happened.
    """

    records: int = 10_000
    seconds: float = 60
    idle_s: float = 3600


class Checkpointer:
    """The checkpoints of one log, made by a thread of its own.

    Checkpoints are kept beside the lane as well; what the sink does not take is sent with the next.

    Args:
        log: whose position is signed.
        folder: of the lane.
        node: its name.
        lane: its name.
        sign: signs a message.
        sink: where checkpoints go.
        rhythm: when they are due.
        clock: the time.

    Raises:
        InvalidPayloadError: the checkpoints beside the lane cannot be read.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        folder: Path,
        node: str,
        lane: str,
        sign: Sign,
        sink: CheckpointSink,
        rhythm: Rhythm | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._log = log
        self._path = folder / LOCAL
        self._node = node
        self._lane = lane
        self._sign = sign
        self._sink = sink
        self._rhythm = rhythm or Rhythm()
        self._clock = clock
        self._ended = threading.Event()
        kept = read_local(folder)
        self._last = kept[-1].checkpoint if kept else None
        self._unsent = list(kept)[-_MOST_SENT_AT_ONCE:]
        self._is_new_start = True
        self.is_forked = False
        self._thread = threading.Thread(target=self._run, name=f"checkpoints {lane}", daemon=True)

    @property
    def unsent(self) -> int:
        """How many checkpoints are here alone."""
        return len(self._unsent)

    @property
    def kept(self) -> int:
        """The number of the newest checkpoint that is kept elsewhere."""
        return (self._last.number if self._last is not None else 0) - self.unsent

    @property
    def is_behind(self) -> bool:
        """Whether there are records that no checkpoint elsewhere tells of."""
        signed = self._last.seq if self._last is not None else 0
        return bool(self._unsent) or self._log.position.seq > signed

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Sign the end, and end; call it when the log is closed."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.tick(at_once=True)

    def tick(self, *, at_once: bool = False) -> None:
        """Make a checkpoint if one is due, and send what is unsent."""
        if self._is_new_start:
            self._compare_with_sink()
        if at_once or self._is_due():
            self._make()
        self._send()

    def _run(self) -> None:
        while not self._ended.wait(_POLL_S):
            self.tick()

    def _is_due(self) -> bool:
        position, rhythm, last = self._log.position, self._rhythm, self._last
        if position.seq == 0:
            return False
        if last is None or position.seq - last.seq >= rhythm.records:
            return True
        waited = self._clock() - last.instant
        allowed = rhythm.seconds if position.seq > last.seq else rhythm.idle_s
        return not timedelta(0) <= waited < timedelta(seconds=allowed)

    def _make(self) -> None:
        position, last = self._log.position, self._last
        checkpoint = Checkpoint(
            node=self._node,
            lane=self._lane,
            number=last.number + 1 if last is not None else 1,
            previous=last.digest if last is not None else GENESIS,
            seq=position.seq,
            hash=position.hash,
            at=stamp(self._clock()),
        )
        signed = SignedCheckpoint(checkpoint, self._sign(checkpoint.message))
        try:
            _append(self._path, signed.dump())
        except OSError as error:
            _LOG.error("audit: a checkpoint is not kept here: %s", os.strerror(error.errno or 0))
        self._last = checkpoint
        self._unsent.append(signed)

    def _send(self) -> None:
        try:
            while self._unsent:
                signed = self._unsent[0]
                self._sink.put(
                    node=self._node,
                    lane=self._lane,
                    number=signed.checkpoint.number,
                    document=signed.dump(),
                )
                del self._unsent[0]
        except CorruptPayloadError:
            self._cry_fork()
            del self._unsent[0]
        except PrefetchError as error:
            _LOG.error("audit: %d checkpoints are not sent: %s", len(self._unsent), error)

    def _compare_with_sink(self) -> None:
        """Find out what the sink has, and whether this is an older copy of a log that went on."""
        mine = {each.checkpoint.number: each.dump() for each in self._unsent}
        known = self._last.number if self._last is not None else 0
        try:
            theirs = self._sink.after(
                node=self._node, lane=self._lane, number=min(mine, default=known + 1) - 1
            )
        except PrefetchError as error:
            _LOG.error("audit: the sink of checkpoints does not answer: %s", error)
            return
        self._is_new_start = False
        kept = {SignedCheckpoint.load(document).checkpoint.number: document for document in theirs}
        self._unsent = [each for each in self._unsent if each.checkpoint.number not in kept]
        if any(mine.get(number) != document for number, document in kept.items()):
            self._cry_fork()
            newest = SignedCheckpoint.load(theirs[-1]).checkpoint
            self._last = newest if newest.number > known else self._last

    def _cry_fork(self) -> None:
        self.is_forked = True
        _LOG.critical("audit: lane %s was cut or restored: checkpoints are ahead of it", self._lane)


def read_local(folder: Path) -> tuple[SignedCheckpoint, ...]:
    """The checkpoints that are kept beside a lane; a torn last one is left out.

    Raises:
        InvalidPayloadError: one of them is damaged.
    """
    try:
        lines = (folder / LOCAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InvalidPayloadError("audit: the checkpoints of a lane cannot be read") from error
    return tuple(SignedCheckpoint.load(line) for line in lines[:-1])


def _append(path: Path, document: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, document + b"\n")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
