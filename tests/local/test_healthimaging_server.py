import socket
from collections.abc import Iterator

import pytest

from teleprefetch.local.healthimaging.server import HttpServer
from teleprefetch.local.healthimaging.wire import Request, Response


def _echo(request: Request) -> Response:
    return Response(body=f"{request.method} {request.target} ".encode() + request.body)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer(port=0, answer=_echo, link=None) as running:
        yield running


def _talk(server: HttpServer, text: bytes) -> bytes:
    """Everything the server says to that, until it hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as client:
        client.sendall(text)
        said = b""
        while chunk := client.recv(65536):
            said += chunk
    return said


def test_a_connection_serves_many_requests(server: HttpServer) -> None:
    said = _talk(
        server,
        b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST /two HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        b"GET /three HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert b"GET /one " in said
    assert b"POST /two abc" in said
    assert said.endswith(b"GET /three ")


def test_a_head_request_gets_the_length_without_the_body(server: HttpServer) -> None:
    said = _talk(server, b"HEAD /x HTTP/1.0\r\n\r\n")
    assert b"Content-Length: 8\r\n" in said
    assert said.endswith(b"\r\n\r\n")


def test_a_client_that_waits_for_leave_to_send_gets_it(server: HttpServer) -> None:
    said = _talk(
        server,
        b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
        b"Connection: close\r\n\r\na",
    )
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_ends_the_connection(
    server: HttpServer, text: bytes, status: int
) -> None:
    assert _talk(server, text).startswith(f"HTTP/1.1 {status} ".encode())


def test_closing_hangs_up_on_idle_connections() -> None:
    with HttpServer(port=0, answer=_echo, link=None) as server:
        client = socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536)
    with client:
        assert client.recv(65536) == b""
