import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teleprefetch.adapters.http_reader import HttpAnswer, HttpRequest, by_status
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from tests.faulty_server import Reply, http, run_faulty_server
from tests.waiting import until

CA_VARIABLES = ("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*CA_VARIABLES, "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def transfers() -> Iterator[Transfers]:
    with closing(Transfers(connections=4, connect_timeout_s=2, read_timeout_s=1)) as opened:
        yield opened


def a_request(url: str, *, max_bytes: int = 1 << 20, **fields) -> HttpRequest:
    return HttpRequest(url=url, what="frame", max_bytes=max_bytes, **fields)


def answer_of(transfers: Transfers, *replies: Reply, **fields) -> HttpAnswer:
    with run_faulty_server(*replies) as server:
        return transfers.fetch(a_request(server.url, **fields), refusal=by_status)


def test_an_answer_has_its_status_headers_and_body(transfers):
    answer = answer_of(transfers, http("200 OK", b"bytes", X_Name="a: b"))
    assert (answer.status, answer.content) == (200, b"bytes")
    assert answer.headers["x-name"] == "a: b"


def test_only_the_last_head_counts(transfers):
    early = b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/plain\r\n\r\n"
    answer = answer_of(transfers, Reply(early + http("200 OK", b"x").sent))
    assert (answer.status, answer.content) == (200, b"x")
    assert "content-type" not in answer.headers


def test_a_body_is_posted_with_the_headers_that_are_given_and_nothing_else(transfers):
    with run_faulty_server(http("200 OK")) as server:
        request = a_request(
            server.url, headers={"Content-Type": "application/json"}, body=b'{"a": 1}'
        )
        transfers.fetch(request, refusal=by_status)
        transfers.fetch(a_request(server.url), refusal=by_status)
        posted, got = (one.decode() for one in server.requests)
    assert posted.startswith("POST / HTTP/1.1\r\n")
    assert posted.endswith('\r\n\r\n{"a": 1}')
    assert "content-type: application/json\r\n" in posted.lower()
    assert "expect" not in posted.lower()
    assert got.startswith("GET / HTTP/1.1\r\n")
    assert "content-" not in got.lower()


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_longer_than_the_limit_is_refused_as_it_comes(transfers, is_announced):
    body = b"x" * 200_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body
    chunked += b"\r\n0\r\n\r\n"
    reply = http("200 OK", body) if is_announced else Reply(chunked)
    with pytest.raises(CorruptPayloadError, match="too long"):
        answer_of(transfers, reply, max_bytes=199_999)
    assert answer_of(transfers, reply, max_bytes=200_000).content == body


def test_what_comes_with_a_refusal_is_read_a_little_and_told(transfers):
    seen: list[HttpAnswer] = []

    def refusal(answer: HttpAnswer, what: str) -> StudyNotFoundError:
        seen.append(answer)
        return StudyNotFoundError(what)

    for body in (b"why", b"x" * 1_000_000):
        with (
            run_faulty_server(http("404 Not Found", body)) as server,
            pytest.raises(StudyNotFoundError),
        ):
            transfers.fetch(a_request(server.url), refusal=refusal)
    assert seen[0].content == b"why"
    assert [one.status for one in seen] == [404, 404]
    assert len(seen[1].content) <= 64 * 1024


def test_an_answer_that_drips_for_ever_is_given_up():
    drip = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na"
    with (
        closing(Transfers(connections=1, answer_timeout_s=0.2)) as transfers,
        pytest.raises(OriginUnavailableError, match="in time"),
    ):
        answer_of(transfers, Reply(drip, "silence"))


def test_threads_have_connections_of_their_own_which_are_kept(transfers):
    together = threading.Barrier(4)

    def fetch(url: str) -> bytes:
        together.wait(timeout=10)
        return transfers.fetch(a_request(url), refusal=by_status).content

    with run_faulty_server(http("200 OK", b"x" * 100_000)) as server:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                assert set(pool.map(fetch, [server.url] * 4)) == {b"x" * 100_000}
        assert len(server.requests) == 20
        assert len(server.open) <= 4


def test_connections_are_opened_before_they_are_needed_and_not_twice(transfers):
    with run_faulty_server(http("403 Forbidden"), *[http("200 OK", b"x")] * 9) as server:
        transfers.make_ready(server.url, 1)
        until(lambda: transfers._idle[server.url.removeprefix("http://")], "one is open")
        transfers.make_ready(server.url, 1)
        assert transfers.fetch(a_request(server.url), refusal=by_status).content == b"x"
        assert len(server.open) == 1
        assert [request.split(b" ")[0] for request in server.requests] == [b"HEAD", b"GET"]


def test_a_connection_that_was_idle_for_long_is_tried_before_it_is_needed(transfers, monkeypatch):
    with run_faulty_server(http("200 OK", b"x")) as server:
        bearer = {"Authorization": "Bearer of-a-reader"}
        transfers.fetch(a_request(server.url, headers=bearer), refusal=by_status)
        (handle,) = transfers._idle[server.url.removeprefix("http://")]
        handle.used_s -= 60
        transfers.make_ready(server.url, 1)
        until(lambda: len(server.requests) == 2, "it was tried")
        assert [b"of-a-reader" in request for request in server.requests] == [True, False]
        until(lambda: transfers._idle[server.url.removeprefix("http://")] == [handle], "it is kept")
        assert transfers.fetch(a_request(server.url), refusal=by_status).content == b"x"
        assert len(server.open) == 1


def test_nobody_waits_for_connections_that_cannot_be_opened(transfers, caplog):
    with run_faulty_server(Reply(b"", "silence")) as server:
        transfers.make_ready(server.url, 4)
        until(lambda: len(server.requests) == 4, "they are tried")
    transfers.make_ready("http://127.0.0.1:9", 4)
    assert not caplog.records


def test_each_archive_has_connections_of_its_own(transfers):
    with run_faulty_server(http("200 OK")) as one, run_faulty_server(http("200 OK")) as other:
        for _ in range(5):
            for server in (one, other):
                transfers.fetch(a_request(server.url), refusal=by_status)
        assert len(one.open) == len(other.open) == 1


def test_how_soon_a_frame_s_first_byte_came_is_told_and_of_nothing_else():
    told: list[tuple[str, float]] = []
    with (
        closing(Transfers(connections=1, first_byte=lambda *heard: told.append(heard))) as fetcher,
        run_faulty_server(http("200 OK", b"x")) as server,
    ):
        fetcher.fetch(a_request(server.url), refusal=by_status)
        assert told == []
        fetcher.fetch(a_request(server.url, is_paced=True), refusal=by_status)
        ((authority, seconds),) = told
    assert authority == server.url.removeprefix("http://")
    assert 0 < seconds < 5


def test_an_empty_body_is_posted_without_a_type(transfers):
    with run_faulty_server(http("200 OK")) as server:
        transfers.fetch(a_request(server.url, body=b""), refusal=by_status)
        (posted,) = server.requests
    assert b"content-length: 0\r\n" in posted.lower()
    assert b"content-type" not in posted.lower()


def test_what_is_closed_keeps_no_connection():
    transfers = Transfers(connections=4)
    with run_faulty_server(http("200 OK")) as server:
        transfers.close()
        transfers.fetch(a_request(server.url), refusal=by_status)
        ends = threading.Event()
        for _ in range(1000):
            if not server.open:
                break
            ends.wait(0.01)
        assert not server.open


def test_a_proxy_of_the_environment_is_asked(transfers, monkeypatch):
    with run_faulty_server(http("200 OK", b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        request = a_request("http://archive.invalid/frame")
        assert transfers.fetch(request, refusal=by_status).content == b"by proxy"
        assert proxy.requests[0].startswith(b"GET http://archive.invalid/frame HTTP/1.1\r\n")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with run_faulty_server(http("403 Forbidden")) as server, pytest.raises(AccessDeniedError):
            transfers.fetch(a_request(server.url), refusal=by_status)
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher"])
def test_other_schemes_are_not_followed(transfers, scheme, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(OriginUnavailableError):
        transfers.fetch(a_request(f"{scheme}://{tmp_path}/secret"), refusal=by_status)


class Says(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secure")

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def secured(tmp_path):
    """A server with a certificate that no authority has signed, and the certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archive")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    public, private = tmp_path / "ca.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(pem))
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    server = HTTPServer(("127.0.0.1", 0), Says)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, public
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_no_trusted_authority_vouches_for_is_refused(secured, transfers):
    port, _ = secured
    with pytest.raises(OriginUnavailableError):
        transfers.fetch(a_request(f"https://127.0.0.1:{port}/"), refusal=by_status)


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_the_environment_says_whom_to_trust(secured, monkeypatch, name):
    port, bundle = secured
    monkeypatch.setenv(name, str(bundle))
    with closing(Transfers(connections=1)) as transfers:
        answer = transfers.fetch(a_request(f"https://127.0.0.1:{port}/"), refusal=by_status)
        assert answer.content == b"secure"
        with pytest.raises(OriginUnavailableError):  # the certificate names 127.0.0.1 alone
            transfers.fetch(a_request(f"https://localhost:{port}/"), refusal=by_status)


def test_importing_the_adapters_without_the_node_needs_no_pycurl():
    program = (
        "import sys; sys.modules['pycurl'] = None\n"
        "import teleprefetch.adapters.origins, teleprefetch.runtime\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
