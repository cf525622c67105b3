"""Checkpoints: signed, sent elsewhere, and ahead of a log that was cut or restored."""

import logging
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from teleprefetch.adapters.checkpoints import FolderCheckpoints, S3Checkpoints
from teleprefetch.domain.audit.checkpoint import SignedCheckpoint
from teleprefetch.domain.audit.completeness import Span
from teleprefetch.edge.audit.checkpointing import Checkpointer, Rhythm, read_local
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.reading import Verdict, verify
from teleprefetch.edge.audit.signing import make_key, signer, verifier
from teleprefetch.errors import (
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
)
from tests.audit_builders import LANE, NODE, START, a_record
from tests.waiting import until

BUCKET = "audit-checkpoints"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "audit.pem"
    make_key(path)
    return path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self):
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Away:
    """A sink that does not answer until it does."""

    def __init__(self, sink: FolderCheckpoints) -> None:
        self.sink = sink
        self.is_away = True
        self.sent: list[int] = []

    def put(self, **checkpoint: Any) -> None:
        if self.is_away:
            raise OriginUnavailableError("checkpoints bucket: ConnectTimeoutError")
        self.sent.append(checkpoint["number"])
        self.sink.put(**checkpoint)

    def after(self, **where: Any) -> tuple[bytes, ...]:
        if self.is_away:
            raise OriginUnavailableError("checkpoints bucket: ConnectTimeoutError")
        return self.sink.after(**where)


def opened(folder: Path, clock: Ticking) -> AuditLog:
    return AuditLog(Lane(folder, node=NODE, name=LANE), clock=clock)


def checkpointer(log: AuditLog, folder: Path, sink: Any, key: Path, clock: Ticking, **rhythm: Any):
    return Checkpointer(
        log,
        folder=folder / LANE,
        node=NODE,
        lane=LANE,
        sign=signer(key),
        sink=sink,
        rhythm=Rhythm(**rhythm),
        clock=clock,
    )


def verified(folder: Path, sink: Any, key: Path, span: Span | None = None) -> Verdict:
    documents = sink.after(node=NODE, lane=LANE, number=0)
    return verify(
        folder,
        checkpoints={LANE: tuple(map(SignedCheckpoint.load, documents))},
        is_signed=verifier(key.with_name(key.name + ".pub")),
        span=span,
    )


def test_a_checkpoint_is_due_by_records_by_seconds_and_when_idle(tmp_path: Path, key: Path) -> None:
    clock, sink = Ticking(), FolderCheckpoints(tmp_path / "sink")
    log = opened(tmp_path / "audit", clock)
    points = checkpointer(log, tmp_path / "audit", sink, key, clock, records=5, seconds=60)
    log.commit(a_record())

    def count() -> int:
        points.tick()
        return len(sink.after(node=NODE, lane=LANE, number=0))

    assert count() == 1
    for _ in range(4):
        log.commit(a_record())
    assert count() == 1
    log.commit(a_record())
    assert count() == 2
    log.commit(a_record())
    clock.pass_s(59)
    assert count() == 2
    clock.pass_s(1)
    assert count() == 3
    clock.pass_s(3599)
    assert count() == 3
    clock.pass_s(1)
    assert count() == 4
    log.close()
    points.close()
    assert verified(tmp_path / "audit", sink, key).is_sound


def test_the_thread_sends_checkpoints_and_closing_signs_the_end(tmp_path: Path, key: Path) -> None:
    clock, sink = Ticking(), FolderCheckpoints(tmp_path / "sink")
    log = opened(tmp_path / "audit", clock)
    points = checkpointer(log, tmp_path / "audit", sink, key, clock)
    points.start()
    log.commit(a_record())
    until(lambda: sink.after(node=NODE, lane=LANE, number=0), "the first checkpoint")
    log.commit(a_record())
    log.close()
    points.close()
    last = SignedCheckpoint.load(sink.after(node=NODE, lane=LANE, number=0)[-1])
    assert last.checkpoint.seq == log.position.seq
    span = Span(START, START)
    verdict = verified(tmp_path / "audit", sink, key, span)
    assert verdict.is_sound
    assert verdict.proof is not None
    assert verdict.proof.is_complete


def test_a_sink_that_is_away_loses_no_checkpoint(
    tmp_path: Path, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink = Ticking(), Away(FolderCheckpoints(tmp_path / "sink"))
    log = opened(tmp_path / "audit", clock)
    points = checkpointer(log, tmp_path / "audit", sink, key, clock, records=1)
    for _ in range(3):
        log.commit(a_record())
        points.tick()
    assert points.unsent == 3
    assert "3 checkpoints are not sent" in caplog.text
    assert len(read_local(tmp_path / "audit" / LANE)) == 3
    sink.is_away = False
    points.tick()
    assert points.unsent == 0
    log.close()
    points.close()
    assert verified(tmp_path / "audit", sink.sink, key).is_sound


def test_a_log_restored_from_an_older_copy_is_found_at_its_start_and_by_its_verifier(
    tmp_path: Path, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink = Ticking(), FolderCheckpoints(tmp_path / "sink")
    folder, copy = tmp_path / "audit", tmp_path / "copy"
    log = opened(folder, clock)
    points = checkpointer(log, folder, sink, key, clock, records=1)
    log.commit(a_record())
    points.tick()
    shutil.copytree(folder, copy)
    log.commit(a_record())
    points.tick()
    log.close()
    points.close()

    again = opened(copy, clock)
    quiet = checkpointer(again, copy, sink, key, clock, records=1000)
    quiet.tick()
    assert quiet.is_forked
    later = checkpointer(again, copy, sink, key, clock, records=1)
    again.commit(a_record(request="after the restore"))
    with caplog.at_level(logging.CRITICAL):
        later.tick()
    assert later.is_forked
    assert "cut or restored" in caplog.text
    again.close()
    later.close()
    assert "forked" in {finding.fault for finding in verified(copy, sink, key).findings}


def test_after_a_restart_only_what_the_sink_lacks_is_sent(tmp_path: Path, key: Path) -> None:
    clock, sink = Ticking(), Away(FolderCheckpoints(tmp_path / "sink"))
    folder = tmp_path / "audit"
    for is_away in (False, True):
        sink.is_away = is_away
        log = opened(folder, clock)
        points = checkpointer(log, folder, sink, key, clock, records=1)
        log.commit(a_record())
        points.tick()
        log.close()
        points.close()
    sink.is_away = False
    log = opened(folder, clock)
    points = checkpointer(log, folder, sink, key, clock, records=1)
    sink.sent.clear()
    log.commit(a_record())
    points.tick()
    assert not points.is_forked
    assert sink.sent == [3, 4, 5]
    log.close()
    points.close()


def test_s3_keeps_each_checkpoint_under_a_compliance_lock(bucket: Any, key: Path) -> None:
    sink = S3Checkpoints(bucket, bucket=BUCKET, prefix="audit/", retain_days=30)
    sink.put(node=NODE, lane=LANE, number=7, document=b"one")
    name = f"audit/{NODE}/{LANE}/000000000007.json"
    head = bucket.head_object(Bucket=BUCKET, Key=name)
    assert head["ObjectLockMode"] == "COMPLIANCE"
    kept = head["ObjectLockRetainUntilDate"] - head["LastModified"]
    assert timedelta(days=29) < kept < timedelta(days=31)
    version = head["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.delete_object(Bucket=BUCKET, Key=name, VersionId=version)


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_number_is_taken_once_and_the_same_document_again_is_no_error(
    kind: str, bucket: Any, tmp_path: Path
) -> None:
    sink = (
        S3Checkpoints(bucket, bucket=BUCKET)
        if kind == "s3"
        else FolderCheckpoints(tmp_path / "sink")
    )
    sink.put(node=NODE, lane=LANE, number=1, document=b"one")
    sink.put(node=NODE, lane=LANE, number=1, document=b"one")
    with pytest.raises(CorruptPayloadError):
        sink.put(node=NODE, lane=LANE, number=1, document=b"other")
    for number in (2, 10):
        sink.put(node=NODE, lane=LANE, number=number, document=str(number).encode())
    sink.put(node=NODE, lane="worker", number=1, document=b"w")
    assert sink.after(node=NODE, lane=LANE, number=1) == (b"2", b"10")
    assert sorted(sink.lanes(node=NODE)) == [LANE, "worker"]


def test_a_bucket_that_is_not_there_is_an_error_in_our_words(bucket: Any) -> None:
    sink = S3Checkpoints(bucket, bucket="another")
    with pytest.raises(OriginUnavailableError, match="checkpoints bucket"):
        sink.put(node=NODE, lane=LANE, number=1, document=b"one")


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    public = make_key(tmp_path / "k.pem")
    assert (tmp_path / "k.pem").stat().st_mode & 0o077 == 0
    signed = signer(tmp_path / "k.pem")(b"message")
    assert verifier(public)(b"message", signed)
    assert not verifier(public)(b"another", signed)
    assert not verifier(public)(b"message", b"short")
    with pytest.raises(InvalidPayloadError, match="there is one already"):
        make_key(tmp_path / "k.pem")
    with pytest.raises(InvalidPayloadError):
        verifier(tmp_path / "k.pem")
    with pytest.raises(InvalidPayloadError):
        signer(public)
