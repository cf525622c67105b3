"""Documents of token issuers over HTTP: bounded in time and size, from named hosts alone.

The standard library and nothing else: the authorizer imports this within its second.
"""

import contextlib
import io
import socket
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError, OriginUnavailableError

Fetch = Callable[[str], bytes]
MOST_BYTES: Final = 256 * 1024
_MOST_HEADER_BYTES: Final = 64 * 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS: Final = {"https": 443, "http": 80}


def check_url(url: str, hosts: frozenset[str]) -> SplitResult:
    """The parts of an address that may be asked.

    Raises:
        InvalidPayloadError: it is not https (http on loopback alone), names a host that is not
            among `hosts`, or carries credentials or a fragment.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidPayloadError("issuer address: not an address") from error
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise InvalidPayloadError("issuer address: neither https nor on loopback")
    if "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        raise InvalidPayloadError("issuer address: credentials, a fragment or odd characters")
    if host not in hosts:
        raise InvalidPayloadError("issuer address: a host that is not allowed")
    return parts


def fetch_document(url: str, *, hosts: frozenset[str], limit_s: float) -> bytes:
    """The body of a 200 answer; `limit_s` is for everything, except that names resolve freely.

    A redirect is an answer like any other that is not 200: it is never followed.

    Raises:
        InvalidPayloadError: the address may not be asked (see `check_url`).
        OriginUnavailableError: no answer in time, or one that is not 200.
        CorruptPayloadError: longer than MOST_BYTES, shorter than announced, or encoded.
    """
    parts = check_url(url, hosts)
    ends_at = time.monotonic() + limit_s
    try:
        with contextlib.closing(_connect(parts, ends_at)) as connection:
            connection.settimeout(max(0.001, ends_at - time.monotonic()))
            connection.sendall(_request(parts))
            return _body(connection, ends_at)
    except (OSError, HTTPException, UnicodeError) as error:
        raise OriginUnavailableError("issuer: no answer, or none in time") from error


def _connect(parts: SplitResult, ends_at: float) -> socket.socket:
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    connection = socket.create_connection((host, port), max(0.001, ends_at - time.monotonic()))
    if parts.scheme == "http":
        return connection
    import ssl  # a loopback issuer needs none of it, and it costs its time

    try:
        connection.settimeout(max(0.001, ends_at - time.monotonic()))
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _request(parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\nUser-Agent: teleprefetch\r\n\r\n"
    ).encode("ascii")


def _body(connection: socket.socket, ends_at: float) -> bytes:
    # HTTPResponse wants a socket for its makefile alone
    bounded = cast("socket.socket", _Bounded(connection, ends_at))
    with contextlib.closing(HTTPResponse(bounded, method="GET")) as response:
        response.begin()
        if response.status != 200:
            raise OriginUnavailableError("issuer: an answer that is not 200")
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise CorruptPayloadError("issuer: an encoded answer that was not asked for")
        body = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise CorruptPayloadError("issuer: a very long answer")
        if response.length:
            raise CorruptPayloadError("issuer: a shorter answer than announced")
        return body


class _Bounded(io.RawIOBase):
    """Reads a socket until a moment and up to a size, whatever the pace of its bytes."""

    def __init__(self, connection: socket.socket, ends_at: float) -> None:
        self._connection = connection
        self._ends_at = ends_at
        self._left = MOST_BYTES + _MOST_HEADER_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The reader that HTTPResponse asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """True, as BufferedReader wants to hear."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read once.

        Raises:
            TimeoutError: the moment has come.
            CorruptPayloadError: the size is reached.
        """
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer takes too long")
        self._connection.settimeout(left_s)
        read = self._connection.recv_into(buffer)
        self._left -= read
        if self._left < 0:
            raise CorruptPayloadError("issuer: a very long answer")
        return read
