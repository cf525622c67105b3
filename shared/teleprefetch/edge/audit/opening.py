"""Opens a lane of the node's audit by its settings, with its checkpoints."""

from pathlib import Path
from typing import Final

import boto3

from teleprefetch.adapters.checkpoints import FolderCheckpoints, S3Checkpoints
from teleprefetch.edge.audit.checkpointing import Checkpointer, CheckpointSink
from teleprefetch.edge.audit.lag import Lag
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.signing import make_key, signer
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.settings import NodeSettings

_S3: Final = "s3://"
_KEY: Final = "checkpoint-key.pem"
_FOLDER: Final = "audit"
_OVERDUE_S: Final = 300.0  # one is due each minute


class HereAlone:
    """A sink that keeps nothing: the checkpoints beside the log are the only ones."""

    def put(self, *, node: str, lane: str, number: int, document: bytes) -> None:
        """Keep nothing."""

    def after(self, *, node: str, lane: str, number: int) -> tuple[bytes, ...]:  # noqa: ARG002
        """Nothing."""
        return ()


def audit_path(settings: NodeSettings) -> Path:
    """The folder of all lanes."""
    return Path(settings.audit_path or Path(settings.store_path) / _FOLDER)


class Audit:
    """One lane, open: its log and its checkpoints.

    Args:
        settings: the node's.
        lane: its name.

    Raises:
        InvalidPayloadError: a setting cannot be used; the message names it.
        NodeUnavailableError: the lane cannot be opened, or another process writes it.
    """

    def __init__(self, settings: NodeSettings, lane: str) -> None:
        folder = audit_path(settings)
        sink = _sink(settings)
        opened = Lane(folder, node=settings.node, name=lane)
        try:
            sign = signer(_key_path(settings, folder))
        except PrefetchError as error:
            opened.close()
            raise InvalidPayloadError(f"settings.audit_key_path: {error}") from error
        self.log = AuditLog(opened, on_full=settings.audit_on_full)
        self._points = Checkpointer(
            self.log, folder=folder / lane, node=settings.node, lane=lane, sign=sign, sink=sink
        )
        self._points.start()
        self._lag = Lag()

    @property
    def has_gap(self) -> bool:
        """Whether it is not written, was cut or restored, or stays without checkpoints elsewhere.

        For one thread, and to be asked often: what stays is known by looking.
        """
        lag_s = self._lag.seconds(is_behind=self._points.is_behind, kept=self._points.kept)
        return self.log.is_failing or self.is_forked or lag_s > _OVERDUE_S

    @property
    def unsent(self) -> int:
        """How many checkpoints are here alone and should not be."""
        return self._points.unsent

    @property
    def is_forked(self) -> bool:
        """Whether the lane was cut or restored."""
        return self._points.is_forked

    def close(self) -> None:
        """Write what waits, and sign the end."""
        self.log.close()
        self._points.close()


def _key_path(settings: NodeSettings, folder: Path) -> Path:
    if settings.audit_key_path:
        return Path(settings.audit_key_path)
    path = folder / _KEY
    if not path.exists():
        make_key(path)
    return path


def _sink(settings: NodeSettings) -> CheckpointSink:
    place = settings.audit_checkpoints
    if not place:
        return HereAlone()
    if not place.startswith(_S3):
        if "://" in place:
            raise InvalidPayloadError("settings.audit_checkpoints: neither s3:// nor a folder")
        return FolderCheckpoints(Path(place))
    bucket, _, prefix = place.removeprefix(_S3).partition("/")
    if not bucket:
        raise InvalidPayloadError("settings.audit_checkpoints: names no bucket")
    return S3Checkpoints(
        boto3.client("s3"),
        bucket=bucket,
        prefix=f"{prefix.rstrip('/')}/" if prefix else "",
        retain_days=settings.audit_retain_days,
    )
