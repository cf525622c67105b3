"""What a client may do to the framing of requests, over raw sockets (RFC 9112)."""

import pytest

from tests.edge.fakes_for_node import content, pointer
from tests.edge.served import FRAME, Raw, hold

HOST = "Host: node\r\n"
GET = f"GET /healthz HTTP/1.1\r\n{HOST}"
SECOND = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n"
# Each is sent with a whole second request behind it: if the first were read otherwise than here,
# as a proxy in front may do, the second would be answered too.
PROBES = {
    "content length and transfer encoding": (
        f"{GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "transfer encoding": f"{GET}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer encoding, odd": f"{GET}Transfer-Encoding: xchunked\r\n\r\n",
    "transfer encoding, identity": f"{GET}Transfer-Encoding: identity\r\n\r\n",
    "space before the colon": f"{GET}Transfer-Encoding : chunked\r\n\r\n",
    "two content lengths": (f"{GET}Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    "two equal content lengths": (f"{GET}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "a body": f"POST /healthz HTTP/1.1\r\n{HOST}Content-Length: 44\r\n\r\n",
    "a body of a GET": f"{GET}Content-Length: 44\r\n\r\n",
    "a signed content length": f"{GET}Content-Length: +0\r\n\r\n",
    "a negative content length": f"{GET}Content-Length: -1\r\n\r\n",
    "a list of content lengths": f"{GET}Content-Length: 0, 0\r\n\r\n",
    "no host": "GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "an empty host": "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a path": "GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a user": "GET /healthz HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "two authorizations": f"{GET}Authorization: a\r\nAuthorization: b\r\n\r\n",
    "a folded line": f"{GET}X: a\r\n b\r\n\r\n",
    "a folded line, by a tab": f"{GET}X: a\r\n\tb\r\n\r\n",
    "bare line feeds": "GET /healthz HTTP/1.1\nHost: node\n\n",
    "a bare line feed in a header": f"{GET}X: a\nY: b\r\n\r\n",
    "a bare carriage return": f"{GET}X: a\rY: b\r\n\r\n",
    "a zero byte": f"{GET}X: a\0b\r\n\r\n",
    "a line without a colon": f"{GET}nothing\r\n\r\n",
    "an empty header name": f"{GET}: a\r\n\r\n",
    "a space before the first header": "GET /healthz HTTP/1.1\r\n Host: node\r\n\r\n",
    "a space in the target": f"GET /healthz /x HTTP/1.1\r\n{HOST}\r\n",
    "two spaces in the request line": f"GET  /healthz HTTP/1.1\r\n{HOST}\r\n",
    "HTTP/0.9": "GET /healthz\r\n\r\n",
    "HTTP/1.2": f"GET /healthz HTTP/1.2\r\n{HOST}\r\n",
    "HTTP/2 over it": f"GET /healthz HTTP/2.0\r\n{HOST}\r\n",
    "HTTP/2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": "EHLO node\r\n\r\n",
    "TLS on the plain port": "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "a target of another form": f"GET healthz HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT": f"CONNECT node:80 HTTP/1.1\r\n{HOST}\r\n",
    "a target that is not ASCII": f"GET /h\u00e9 HTTP/1.1\r\n{HOST}\r\n",
    "a fragment in the target": f"GET /healthz#x HTTP/1.1\r\n{HOST}\r\n",
    "a head that ends early": f"{GET}\n{GET}\r\n",
    "too many headers": f"{GET}" + "X: y\r\n" * 200 + "\r\n",
    "a head that is too long": f"{GET}X: {'a' * 17_000}\r\n\r\n",
    "too many fields in the query": f"GET /healthz?{'a=1&' * 200} HTTP/1.1\r\n{HOST}\r\n",
}


@pytest.fixture
def port(serve_store, store):
    hold(store, pointer(), 3)
    return serve_store().port


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_an_odd_request_gets_one_refusal_and_the_connection_is_closed(port, probe):
    with Raw(port) as client:
        heard = client.say(probe.encode("latin-1") + SECOND.encode()).hear_all()
    assert heard.count(b"HTTP/1.1 ") == 1, heard
    assert heard[9:12] in {b"400", b"431", b"505"}, heard[:80]
    assert b"\r\nConnection: close\r\n" in heard


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_an_odd_request_is_refused_also_behind_a_good_one_with_its_headers(port, probe):
    good = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n"
    with Raw(port) as client:
        heard = client.say(
            (good * 2).encode() + probe.encode("latin-1") + SECOND.encode()
        ).hear_all()
    assert heard.count(b"HTTP/1.1 ") == 3, heard
    assert heard.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    ("endless", "status"),
    [(f"{GET}X: {'a' * 17_000}", b"431"), (f"{GET}X: y\n\n", b"400"), (f"{GET}X: y\n\r\n", b"400")],
)
def test_what_never_becomes_a_request_is_not_waited_for(port, endless, status):
    with Raw(port) as client:
        assert client.say(endless).hear_all(within_s=3)[9:12] == status


def test_a_refusal_is_heard_also_by_a_client_that_goes_on_sending(port):
    with Raw(port) as client:
        client.say(f"{GET}Content-Length: 4000000\r\n\r\n")
        client.say(b"x" * 4_000_000)
        client.socket.shutdown(1)
        heard = client.hear_all()
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.endswith(b"}")


def test_requests_in_one_packet_are_answered_each_in_its_turn(port):
    paths = [
        FRAME,
        "/healthz",
        "/dicom-web/studies",
        FRAME.replace("1.2.1.1.2", "1.2.1.1.3"),
        "/none",
    ]
    accept = "Accept: image/jphc, application/*\r\n"
    with Raw(port) as client:
        client.say("".join(f"GET {path} HTTP/1.1\r\n{HOST}{accept}\r\n" for path in paths * 3))
        for _ in range(3):
            answers = [client.hear_answer() for _ in paths]
            assert [status for status, _ in answers] == [200, 200, 200, 200, 404]
            assert (answers[0][1], answers[3][1]) == (content(2), content(3))


def test_thousands_of_requests_in_a_row_are_all_answered(port):
    with Raw(port) as client:
        client.say(SECOND * 3000)
        assert {client.hear_answer() for _ in range(3000)} == {(200, b'{"status":"ok"}')}


def test_a_request_in_single_bytes_is_answered(port):
    with Raw(port) as client:
        for byte in SECOND.encode():
            client.say(bytes([byte]))
        assert client.hear_answer()[0] == 200


def test_an_empty_line_before_a_request_is_passed_over(port):
    with Raw(port) as client:
        client.say("\r\n" + SECOND + "\r\n" + SECOND)
        assert [client.hear_answer()[0] for _ in range(2)] == [200, 200]


def test_a_client_that_closes_its_side_still_gets_its_answer(port):
    with Raw(port) as client:
        client.say(f"GET {FRAME} HTTP/1.1\r\n{HOST}Accept: image/jphc\r\n\r\n")
        client.socket.shutdown(1)
        assert client.hear_all().endswith(content(2))


def test_connection_close_is_kept_to_and_so_is_http_1_0(port):
    for line, header in (("HTTP/1.1", "Connection: close\r\n"), ("HTTP/1.0", "")):
        with Raw(port) as client:
            heard = client.say(f"GET /healthz {line}\r\n{HOST}{header}\r\n{SECOND}").hear_all()
        assert heard.count(b"HTTP/1.1 200 OK") == 1
        assert b"\r\nConnection: close\r\n" in heard


def test_an_absolute_target_is_taken_with_its_own_host(port):
    with Raw(port) as client:
        client.say("GET http://other:81/dicom-web/studies HTTP/1.1\r\nHost: node\r\n\r\n")
        status, body = client.hear_answer()
    assert status == 200
    assert b'"http://other:81/dicom-web/studies/1.2.1"' in body


def test_an_upgrade_that_is_not_made_is_a_request_like_any_other(port):
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with Raw(port) as client:
        client.say(f"GET /healthz HTTP/1.1\r\n{HOST}{upgrade}\r\n{SECOND}")
        assert [client.hear_answer()[0] for _ in range(2)] == [200, 200]


def test_answers_without_a_body_leave_the_next_one_in_its_place(port):
    head = SECOND.replace("GET", "HEAD")
    with Raw(port) as client:
        client.say(f"GET {FRAME} HTTP/1.1\r\n{HOST}Accept: image/jphc\r\n\r\n")
        client.hear_answer()
        heard = client.say(
            head + f"OPTIONS {FRAME} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
        ).hear_all()
    first, second, rest = heard.split(b"\r\n\r\n")
    assert b"Content-Length: 15" in first
    assert second.startswith(b"HTTP/1.1 204 ")
    assert rest == b""
    assert b"Content-Length" not in second


def test_nothing_that_a_client_sends_comes_back_in_a_header(port):
    with Raw(port) as client:
        client.say(
            f"GET /%0d%0aSet-Cookie:x=1?a=%0d%0aX:1 HTTP/1.1\r\n{HOST}X-Canary: canary\r\n\r\n"
        )
        heard = client.socket.recv(1 << 16)
    assert heard.startswith(b"HTTP/1.1 404 ")
    assert b"Set-Cookie" not in heard
    assert b"canary" not in heard
