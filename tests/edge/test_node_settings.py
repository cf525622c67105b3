"""The settings of the doorway and of the audit: checked at the start, and named when wrong."""

import json

import pytest

from teleprefetch.domain.audit.checkpoint import SignedCheckpoint
from teleprefetch.edge.access.opening import Access, open_readings
from teleprefetch.edge.audit.opening import Audit
from teleprefetch.edge.audit.reading import verify
from teleprefetch.edge.audit.signing import verifier
from teleprefetch.edge.serving import Serving
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError
from teleprefetch.settings import NodeSettings, from_environment
from tests.audit_builders import a_record
from tests.edge.open_doorway import OpenDoorway
from tests.edge.served import Client

ISSUER = {"issuer": "https://login.example", "audiences": ["urn:edge"]}


def settings(tmp_path, **changes):
    base = {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": json.dumps({"archive": {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        "TABLE_NAME": "table",
        "STORE_PATH": str(tmp_path),
        "STORE_BYTES": "1000000",
    }
    return from_environment(NodeSettings, base | changes)


@pytest.fixture
def open_access(tmp_path):
    board, opened = Board(), []

    def start(**changes):
        access = Access(settings(tmp_path, **changes), lane="serve-0", board=board)
        opened.append(access)
        return access

    yield start
    for access in opened:
        access.close()
    board.close()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TOKEN_ISSUERS", "nothing", "settings.TOKEN_ISSUERS"),
        ("TOKEN_ISSUERS", json.dumps([{"issuer": "https://a"}]), "settings.TOKEN_ISSUERS"),
        ("POLICIES_PATH", "/nowhere", "settings.policies_path"),
        ("READING_LOCATIONS", '["a b"]', "settings.reading_locations"),
        ("ROLE_GROUPS", '{"https://a": {"g": "king"}}', "settings.role_groups"),
        ("AUDIT_ON_FULL", "allow", "settings.audit_on_full"),
        ("AUDIT_KEY_PATH", "/nowhere.pem", "settings.audit_key_path"),
        ("AUDIT_CHECKPOINTS", "s3://", "settings.audit_checkpoints"),
        ("AUDIT_CHECKPOINTS", "https://bucket", "settings.audit_checkpoints"),
        ("AUDIT_RETAIN_DAYS", "0", "settings.audit_retain_days"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(open_access, name, value, told):
    with pytest.raises(InvalidPayloadError, match=told.replace(".", r"\.")):
        open_access(**{name: value})


def test_a_node_without_issuers_starts_and_refuses_every_token(open_access):
    doorway = open_access().doorway
    headers = {"authorization": "Bearer a.b.c"}
    assert doorway.known(headers, "127.0.0.1") is None


def test_a_key_is_made_once_and_signs_what_goes_elsewhere(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for _ in range(2):
        audit = Audit(settings(tmp_path, AUDIT_CHECKPOINTS=str(elsewhere)), "worker")
        audit.log.commit(a_record())
        audit.close()
    key = tmp_path / "audit" / "checkpoint-key.pem.pub"
    kept = [
        SignedCheckpoint.load(path.read_bytes())
        for path in sorted((elsewhere / "n1" / "worker").iterdir())
    ]
    verdict = verify(tmp_path / "audit", checkpoints={"worker": kept}, is_signed=verifier(key))
    assert verdict.is_sound, verdict.findings
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("on_full", "status", "words"),
    [("deny", 503, b"audit: cannot be written"), ("emergency-allow", 200, b"audit: cannot be")],
)
def test_readiness_tells_of_an_audit_that_cannot_be_written(
    tmp_path, store, board, on_full, status, words
):
    chosen = settings(tmp_path, AUDIT_ON_FULL=on_full, PORT="0")
    serving = Serving(chosen, store=store, board=board, doorway=OpenDoorway())
    serving.start()
    client = Client(serving.port)
    board.put(Figure.READY, 1)
    assert client("/readyz").status == 200
    board.put(Figure.WORKER_AUDIT_FAILING, 1)
    answer = client("/readyz")
    assert answer.status == status
    assert words in answer.content
    board.put(Figure.WORKER_AUDIT_FAILING, 0)
    assert client("/readyz").status == 200
    client.close()
    serving.close()


def test_a_damaged_reading_list_is_put_aside_and_the_node_starts(tmp_path):
    (tmp_path / "readings.sqlite").write_bytes(b"no database" * 1000)
    readings = open_readings(settings(tmp_path))
    assert readings.of_study("1.2.1") == ()
    readings.close()
    assert (tmp_path / "damaged-readings.sqlite").read_bytes().startswith(b"no database")


def test_a_reading_list_that_cannot_be_opened_is_not_put_aside(tmp_path):
    (tmp_path / "readings.sqlite").mkdir()
    with pytest.raises(NodeUnavailableError):
        open_readings(settings(tmp_path))
    assert not (tmp_path / "damaged-readings.sqlite").exists()
