"""TLS, and the access log."""

import datetime as dt
import json
import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.edge.http.crowd import Limits
from teleprefetch.edge.http.server import tls_context
from teleprefetch.edge.watching.board import Figure
from teleprefetch.errors import InvalidPayloadError
from tests.edge.fakes_for_node import content, eventually, pointer
from tests.edge.served import ALL, FRAME, Client, Raw, hold

BIG = bytes(range(256)) * 100_000


@pytest.fixture
def certificate(tmp_path):
    """A certificate for this machine's loopback address, and its key: two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


@pytest.fixture
def trusting(certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    context.check_hostname = False
    return context


def test_frames_and_urls_over_tls(serve_store, store, certificate, trusting):
    hold(store, pointer(), 3)
    hold(store, pointer(2), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    client = Client(serve_store(tls=tls_context(*certificate)).port, tls=trusting)
    assert content(2) in client(FRAME, Accept=ALL).content
    big = "/dicom-web/studies/1.2.2/series/1.2.2.1/instances/1.2.2.1.2/frames/1"
    for _ in range(2):
        assert client(big, Accept="application/octet-stream").content == BIG
    (study, _) = client.json("/dicom-web/studies")
    assert study["00081190"]["Value"][0].startswith("https://127.0.0.1:")
    client.close()


def test_a_client_over_tls_that_stops_reading_is_given_up(
    serve_store, store, board, certificate, trusting
):
    hold(store, pointer(), 2, syntax=EXPLICIT_VR_LITTLE_ENDIAN, bytes_of=lambda _: BIG)
    server = serve_store(tls=tls_context(*certificate), board=board, limits=Limits(stall_s=0.5))
    with Raw(server.port, receive_bytes=4096) as client:
        wrapped = trusting.wrap_socket(client.socket, server_hostname="127.0.0.1")
        accept = "Accept: application/octet-stream\r\n"
        wrapped.sendall(f"GET {FRAME} HTTP/1.1\r\nHost: node\r\n{accept}\r\n".encode())
        assert wrapped.recv(100).startswith(b"HTTP/1.1 200")
        eventually(lambda: board.total(Figure.ANSWERS_CUT) == 1)
        eventually(lambda: board.total(Figure.CONNECTIONS) == 0)
        wrapped.close()


def test_old_tls_and_plain_text_are_refused_on_a_tls_port(serve_store, certificate):
    port = serve_store(tls=tls_context(*certificate)).port
    with Raw(port) as client:
        client.say("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
        assert b"200 OK" not in client.hear_all()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InvalidPayloadError, match="tls_certificate_path"):
        tls_context(str(tmp_path / "none.pem"), "")


def test_each_answer_is_a_line_without_a_word_of_whom_or_what(serve_store, store, tmp_path):
    hold(store, pointer(), 3)
    path = tmp_path / "access.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    server = serve_store(access_log=descriptor)
    client = Client(server.port)
    asked = [FRAME, FRAME, FRAME, "/dicom-web/studies?PatientName=Doe*", "/none?token=canary"]
    for target in asked:
        client(target, Authorization="Bearer canary")
    client.close()
    server.close()
    os.close(descriptor)
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 200, 200, 404]
    assert [line["kind"] for line in lines] == ["frames"] * 3 + ["search", ""]
    assert lines[2]["source"] == "memory"
    assert all(line["bytes"] > 0 and line["us"] >= 0 for line in lines)
    for word in ("1.2.1", "canary", "Doe", "studies", "127.0.0.1"):
        assert word not in text
