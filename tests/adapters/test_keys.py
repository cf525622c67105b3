import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from teleprefetch.adapters.keys import IssuerKeys, KeyRing
from teleprefetch.adapters.keys_http import MOST_BYTES, fetch_document
from teleprefetch.domain.tokens.issuers import IssuerRules, KeysPlace
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, OriginUnavailableError
from tests.faulty_server import FaultyServer, Reply, http, run_faulty_server
from tests.token_making import ec_jwk, ec_key, key_set, rsa_jwk
from tests.waiting import until

ONE = http("200 OK", key_set(rsa_jwk("rsa-1")), then="close")
BOTH = http("200 OK", key_set(rsa_jwk("rsa-1"), ec_jwk("ec-1")), then="close")
OTHER = http("200 OK", key_set(rsa_jwk("rsa-2")), then="close")
HUGE = b'{"keys": [' + b" " * MOST_BYTES + b"]}"
FAULTS = {
    "an error": http("500 Internal Server Error", b"{}", then="close"),
    "not found": http("404 Not Found", then="close"),
    "a page": http("200 OK", b"<html>log in</html>", then="close"),
    "a huge answer": http("200 OK", HUGE, then="close"),
    "an answer without end": Reply(b"HTTP/1.1 200 OK\r\n\r\n" + HUGE),
    "headers without end": Reply(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 400_000),
    "no keys": http("200 OK", b'{"keys": []}', then="close"),
    "weak keys alone": http("200 OK", key_set(rsa_jwk("rsa-1", use="enc")), then="close"),
    "an empty answer": http("200 OK", b"", then="close"),
    "a short answer": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}"),
    "a broken chunk": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "an encoded answer": http("200 OK", b"\x1f\x8b", then="close", Content_Encoding="gzip"),
    "a redirect": http("302 Found", then="close", Location="http://127.0.0.1:9/keys"),
    "a reset": Reply(b"", "reset"),
    "no HTTP": Reply(b"SSH-2.0-OpenSSH\r\n"),
}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def rules_of(url: str, **place: Any) -> IssuerRules:
    return IssuerRules(
        issuer=url, audiences=frozenset({"a"}), keys=KeysPlace(jwks_uri=f"{url}/keys", **place)
    )


@contextmanager
def keys_from(*replies: Reply, **place: Any) -> Iterator[tuple[IssuerKeys, FaultyServer, Clock]]:
    clock = Clock()
    with run_faulty_server(*replies) as server:
        keys = IssuerKeys(rules_of(server.url, **place), clock=clock)
        try:
            yield keys, server, clock
        finally:
            server.stop()
            keys.close()


def reason_of(keys: IssuerKeys, key_id: str | None, *, wait_s: float = 0.25) -> Reason | None:
    try:
        keys.find(key_id, wait_s=wait_s)
    except TokenRefusedError as refused:
        return refused.reason
    return None


def test_keys_are_fetched_once_and_found_by_their_ids() -> None:
    with keys_from(BOTH) as (keys, server, _):
        assert keys.find("rsa-1", wait_s=2).algorithm == "RS256"
        assert keys.find("ec-1", wait_s=2).algorithm == "ES256"
        assert len(server.requests) == 1
        head = server.requests[0].decode()
        assert head.startswith("GET /keys HTTP/1.1\r\n")
        assert "Connection: close" in head


def test_without_an_id_the_only_key_is_meant_and_of_several_none() -> None:
    with keys_from(ONE) as (keys, _, _):
        assert keys.find(None, wait_s=2).key_id == "rsa-1"
    with keys_from(BOTH) as (keys, _, _):
        assert reason_of(keys, None) is Reason.UNKNOWN_KEY


def test_many_who_ask_at_once_are_served_by_one_fetch() -> None:
    with keys_from(ONE) as (keys, server, _):
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.append(reason_of(keys, "rsa-1", wait_s=5)))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [None] * 20
        assert len(server.requests) == 1


def test_a_flood_of_unknown_keys_is_one_fetch_in_the_cooldown_and_good_ones_are_found() -> None:
    with keys_from(ONE, cooldown_s=10) as (keys, server, clock):
        keys.find("rsa-1", wait_s=2)
        for second in range(10):
            clock.now_s += 1
            for n in range(1000):
                assert reason_of(keys, f"unknown-{second}-{n}") is Reason.UNKNOWN_KEY
            assert reason_of(keys, "rsa-1", wait_s=0) is None
        assert len(server.requests) == 2


def test_a_new_key_is_found_after_the_cooldown_and_a_removed_one_is_refused() -> None:
    with keys_from(ONE, OTHER, cooldown_s=10) as (keys, _, clock):
        keys.find("rsa-1", wait_s=2)
        before = keys.generation
        clock.now_s += 9
        assert reason_of(keys, "rsa-2") is Reason.UNKNOWN_KEY
        clock.now_s += 1
        assert reason_of(keys, "rsa-2", wait_s=2) is None
        assert reason_of(keys, "rsa-1", wait_s=0) is Reason.UNKNOWN_KEY
        assert keys.generation == before + 1


def test_a_refresh_runs_beside_the_readers_and_changes_the_generation_only_with_the_keys() -> None:
    with keys_from(ONE, ONE, OTHER, refresh_s=300) as (keys, server, clock):
        keys.find("rsa-1", wait_s=2)
        before = keys.generation
        clock.now_s += 300
        assert reason_of(keys, "rsa-1", wait_s=0) is None
        until(lambda: len(server.requests) == 2, "a refresh")
        keys.close()
        assert keys.generation == before
        clock.now_s += 300
        keys.refresh_if_due()
        until(lambda: keys.generation == before + 1, "the new keys")
        assert reason_of(keys, "rsa-1", wait_s=0) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("fault", FAULTS)
def test_keys_serve_through_an_outage_until_they_are_stale(fault: str) -> None:
    place = {"refresh_s": 300, "stale_s": 7200, "cooldown_s": 10}
    with keys_from(ONE, FAULTS[fault], **place) as (keys, server, clock):
        keys.find("rsa-1", wait_s=2)
        clock.now_s += 7199
        assert reason_of(keys, "rsa-1", wait_s=0) is None
        until(lambda: len(server.requests) == 2, "a refresh that fails")
        keys.close()
        assert reason_of(keys, "rsa-1", wait_s=0) is None
        clock.now_s += 1
        assert reason_of(keys, "rsa-1", wait_s=2) is Reason.KEYS_UNAVAILABLE


@pytest.mark.parametrize("fault", FAULTS)
def test_without_any_keys_a_fault_is_a_refusal_and_the_next_good_answer_ends_it(fault: str) -> None:
    with keys_from(FAULTS[fault], ONE) as (keys, _, clock):
        assert reason_of(keys, "rsa-1", wait_s=2) is Reason.KEYS_UNAVAILABLE
        keys.close()
        clock.now_s += 1
        assert reason_of(keys, "rsa-1", wait_s=2) is None


def test_a_silent_issuer_is_waited_for_a_quarter_of_a_second_and_by_nobody_later() -> None:
    with keys_from(Reply(b"", "silence")) as (keys, server, _):
        began = time.monotonic()
        assert reason_of(keys, "rsa-1", wait_s=10) is Reason.KEYS_UNAVAILABLE
        first_s = time.monotonic() - began
        assert 0.2 < first_s < 0.8
        began = time.monotonic()
        for _ in range(100):
            assert reason_of(keys, "rsa-1", wait_s=10) is Reason.KEYS_UNAVAILABLE
        assert time.monotonic() - began < 0.2
        assert len(server.requests) == 1


def test_a_clock_that_is_set_back_makes_no_key_live_for_ever() -> None:
    with keys_from(ONE, OTHER) as (keys, _, clock):
        keys.find("rsa-1", wait_s=2)
        clock.now_s -= 1_000_000
        keys.refresh_if_due()
        until(lambda: keys.generation == 2, "the new keys")


def test_what_goes_wrong_is_told_and_names_no_content() -> None:
    told: list[tuple[str, str]] = []
    with run_faulty_server(FAULTS["a page"]) as server:
        rules = rules_of(server.url)
        keys = IssuerKeys(rules, report=lambda issuer, news: told.append((issuer, news)))
        assert reason_of(keys, "rsa-1", wait_s=2) is Reason.KEYS_UNAVAILABLE
        keys.close()
        assert told == [(server.url, "key set: not a JSON object")]


def test_a_ring_keeps_issuers_apart() -> None:
    with run_faulty_server(ONE) as first, run_faulty_server(OTHER) as second:
        ring = KeyRing([rules_of(first.url), rules_of(second.url)])
        ring.warm_up()
        assert ring.find(first.url, "rsa-1", wait_s=2).key_id == "rsa-1"
        with pytest.raises(TokenRefusedError, match="key not known"):
            ring.find(second.url, "rsa-1", wait_s=2)
        with pytest.raises(TokenRefusedError, match="issuer not known"):
            ring.find("http://127.0.0.1:9", "rsa-1", wait_s=2)
        assert ring.generation() == 2
        ring.close()


def _discovery(url: str, **changes: Any) -> Reply:
    document = {"issuer": url, "jwks_uri": f"{url}/found"} | changes
    return http("200 OK", json.dumps(document).encode(), then="close")


def _discovering(first: Reply | None = None, **changes: Any) -> tuple[Reason | None, list[bytes]]:
    with run_faulty_server() as server:
        replies = [first or _discovery(server.url, **changes), ONE]
        server.answer = lambda n: replies[min(n, 1)]
        rules = replace(rules_of(server.url), keys=KeysPlace())
        keys = IssuerKeys(rules)
        reason = reason_of(keys, "rsa-1", wait_s=2)
        keys.close()
        return reason, server.requests


def test_an_issuers_own_document_says_where_its_keys_are() -> None:
    reason, requests = _discovering()
    assert reason is None
    paths = [request.split(b" ")[1] for request in requests]
    assert paths == [b"/.well-known/openid-configuration", b"/found"]


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "https://evil.example/keys"},
        {"jwks_uri": "http://169.254.169.254/latest"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ["x"]},
    ],
)
def test_a_document_that_points_elsewhere_is_not_followed(changes: dict[str, Any]) -> None:
    reason, requests = _discovering(**changes)
    assert reason is Reason.KEYS_UNAVAILABLE
    assert len(requests) == 1


def test_a_document_that_is_no_json_is_not_followed() -> None:
    reason, requests = _discovering(first=FAULTS["a page"])
    assert reason is Reason.KEYS_UNAVAILABLE
    assert len(requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "http://login.example/keys",
        "https://other.example/keys",
        "https://login.example.evil.example/keys",
        "https://user:word@login.example/keys",
        "https://login.example@evil.example/keys",
        "https://login.example/keys#x",
        "https://login.example:port/keys",
        "https://login.example/keys\r\nHost: evil",
        "https://[::1/keys",
        "http://169.254.169.254/latest/meta-data",
        "gopher://login.example",
        "//login.example/keys",
        "",
    ],
)
def test_an_address_that_may_not_be_asked_is_never_connected_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda *given: connected.append(given))
    with pytest.raises(InvalidPayloadError):
        fetch_document(url, hosts=frozenset({"login.example"}), limit_s=1)
    assert not connected


def test_a_redirect_is_not_followed() -> None:
    with run_faulty_server(ONE) as other:
        redirect = http("302 Found", then="close", Location=f"{other.url}/keys")
        with run_faulty_server(redirect) as server, pytest.raises(OriginUnavailableError):
            fetch_document(f"{server.url}/keys", hosts=frozenset({"127.0.0.1"}), limit_s=1)
        assert not other.requests


def test_a_chunked_answer_is_read() -> None:
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with run_faulty_server(Reply(body)) as server:
        url = f"{server.url}/keys"
        assert fetch_document(url, hosts=frozenset({"127.0.0.1"}), limit_s=2) == b"{}"


@contextmanager
def _https(folder: Path) -> Iterator[tuple[str, Path]]:
    key = ec_key("tls")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "issuer.pem"
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key.private_bytes(*form) + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def serve(listener: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            listener.accept()[0] as connection,
            context.wrap_socket(connection, server_side=True) as secure,
        ):
            secure.recv(65536)
            secure.sendall(ONE.sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/keys", path
        thread.join()


def test_an_issuer_over_tls_is_read_if_its_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _https(tmp_path) as (url, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert b"rsa-1" in fetch_document(url, hosts=frozenset({"localhost"}), limit_s=5)
    monkeypatch.delenv("SSL_CERT_FILE")
    with _https(tmp_path) as (url, _), pytest.raises(OriginUnavailableError):
        fetch_document(url, hosts=frozenset({"localhost"}), limit_s=5)


def test_a_huge_answer_is_cut_short() -> None:
    endless = FAULTS["an answer without end"]
    with run_faulty_server(endless) as server, pytest.raises(CorruptPayloadError, match="long"):
        fetch_document(server.url, hosts=frozenset({"127.0.0.1"}), limit_s=2)


def test_an_answer_that_never_comes_to_its_point_is_cut_short() -> None:
    endless = Reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, "silence")
    with run_faulty_server(endless) as server, pytest.raises(CorruptPayloadError, match="long"):
        fetch_document(server.url, hosts=frozenset({"127.0.0.1"}), limit_s=10)


def test_an_answer_that_trickles_is_cut_off_at_the_limit() -> None:
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500:
                    if stopped.wait(0.03):
                        return
                    connection.sendall(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        began = time.monotonic()
        with pytest.raises(OriginUnavailableError):
            fetch_document(url, hosts=frozenset({"127.0.0.1"}), limit_s=0.3)
        assert time.monotonic() - began < 1
        stopped.set()
        thread.join()
