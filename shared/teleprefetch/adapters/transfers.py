"""Frames over libcurl: the least time that a request takes from Python.

What a network does is kept by others: connections, TLS, proxies by the environment, time-outs. One
easy handle for each thread that fetches, each with its own connection: libcurl works while other
threads do, whereas a multi handle, measured, gives all the work to its one thread. HTTP/1.1, since
the windows of many connections fill a long link sooner than that of one of HTTP/2. On such a link a
connection costs as many round trips as a frame, so that they can be opened before they are needed.

Only the node imports this: no function needs frames, and pycurl is not in their layer.
"""

import logging
import math
import os
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pycurl

from teleprefetch.adapters.http_reader import HttpAnswer, HttpRequest, Refusal
from teleprefetch.errors import CorruptPayloadError, OriginUnavailableError

_BUFFER_BYTES: Final = 256 * 1024
_KEPT_S: Final = 600  # between one order and the next; one that was closed meanwhile is replaced
_WORTH_READING_BYTES: Final = 64 * 1024
_WHOLE: Final = frozenset({200, 204})
_OPENED_IN_S: Final = 10
# Servers close what was idle for a minute, or for a few (Elastic Load Balancing: 60 s by default).
_SURELY_OPEN_S: Final = 30.0
_LOG: Final = logging.getLogger(__name__)
# Who may say which authorities to trust: botocore's variable first, then those of others.
_CA_VARIABLES: Final = ("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


class Transfers:
    """Requests over libcurl; safe to share between threads."""

    def __init__(
        self,
        *,
        connections: int,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 15.0,
        answer_timeout_s: float = 120.0,
        first_byte: Callable[[str, float], None] = lambda _authority, _seconds: None,
    ) -> None:
        """Make ready; nothing connects yet.

        Args:
            connections: how many are kept open to each authority; more are opened at need, and
                closed after use.
            connect_timeout_s: the longest wait for a connection.
            read_timeout_s: the longest silence of the other side, in whole seconds from one up.
            answer_timeout_s: the longest time for a whole answer, however steadily it drips.
            first_byte: is told of each frame whom it was asked of, and in how many seconds after
                the request its first byte came.
        """
        self._connections = connections
        self._first_byte = first_byte
        self._options: Mapping[int, int | str] = {
            pycurl.NOSIGNAL: 1,
            pycurl.NOPROGRESS: 1,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.TCP_KEEPALIVE: 1,
            pycurl.MAXCONNECTS: 1,
            pycurl.MAXAGE_CONN: _KEPT_S,
            pycurl.BUFFERSIZE: _BUFFER_BYTES,
            pycurl.CONNECTTIMEOUT_MS: round(connect_timeout_s * 1000),
            pycurl.TIMEOUT_MS: round(answer_timeout_s * 1000),
            pycurl.LOW_SPEED_LIMIT: 1,
            pycurl.LOW_SPEED_TIME: math.ceil(read_timeout_s),
            **_authorities(os.environ),
        }
        self._idle: defaultdict[str, list[_Handle]] = defaultdict(list)
        self._is_closed = False

    def fetch(self, request: HttpRequest, *, refusal: Refusal) -> HttpAnswer:
        """As `Fetcher.fetch`."""
        authority = urlsplit(request.url).netloc
        with self._handle(authority) as handle:
            answer = handle.send(request)
            if request.is_paced:
                self._first_byte(authority, handle.first_byte_s)
        if answer.status not in _WHOLE:
            raise refusal(answer, request.what)
        return answer

    def make_ready(self, url: str, connections: int) -> None:
        """Have so many connections open for what is asked next; returns at once.

        Each is opened, if it was not used of late, by a HEAD of the address: safe (RFC 9110 9.2.1),
        and whatever its answer is, the connection stays. What fails here fails again, and is told,
        when something is asked.
        """
        idle = self._idle[urlsplit(url).netloc]
        fresh_s = time.monotonic() - _SURELY_OPEN_S
        missing = connections - sum(handle.used_s > fresh_s for handle in list(idle))
        for _ in range(min(missing, self._connections)):
            threading.Thread(target=self._open, args=(url,), name="connecting", daemon=True).start()

    def close(self) -> None:
        """Close the connections; those in use, as soon as they are not any more."""
        self._is_closed = True
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()

    def _open(self, url: str) -> None:
        authority = urlsplit(url).netloc
        try:
            handle = self._idle[authority].pop(0)  # the one that was used least recently
        except IndexError:
            handle = _Handle(self._options)
        if handle.opens(url):
            self._keep(authority, handle)
        else:
            handle.close()

    @contextmanager
    def _handle(self, authority: str) -> Iterator["_Handle"]:
        """A handle of our own, the one used last if there is one: its connection is the warmest."""
        try:
            handle = self._idle[authority].pop()
        except IndexError:
            handle = _Handle(self._options)
        try:
            yield handle
        finally:
            self._keep(authority, handle)

    def _keep(self, authority: str, handle: "_Handle") -> None:
        idle = self._idle[authority]
        if self._is_closed or len(idle) >= self._connections:
            handle.close()
        else:
            idle.append(handle)


class _Handle:
    """One easy handle with its connection; one thread at a time."""

    def __init__(self, options: Mapping[int, int | str]) -> None:
        self._curl = pycurl.Curl()
        self._options = options
        self.used_s = 0.0
        for option, value in options.items():
            self._curl.setopt(option, value)

    @property
    def first_byte_s(self) -> float:
        """In how many seconds after the last request its answer began."""
        return float(
            self._curl.getinfo(pycurl.STARTTRANSFER_TIME)
            - self._curl.getinfo(pycurl.PRETRANSFER_TIME)
        )

    def opens(self, url: str) -> bool:
        """Open the connection to an address; whether that went well."""
        curl = self._curl
        curl.setopt(pycurl.URL, url)
        curl.unsetopt(pycurl.HTTPHEADER)  # the last request's are on it, with what authorised it
        curl.setopt(pycurl.NOBODY, 1)
        curl.setopt(pycurl.TIMEOUT, _OPENED_IN_S)
        try:
            curl.perform()
        except pycurl.error as error:
            _LOG.debug("a connection was not opened: libcurl's error %s", error.args[0])
            return False
        curl.setopt(pycurl.HTTPGET, 1)
        curl.setopt(pycurl.TIMEOUT_MS, self._options[pycurl.TIMEOUT_MS])
        self.used_s = time.monotonic()
        return True

    def send(self, request: HttpRequest) -> HttpAnswer:
        """The answer, whatever its status; raises as `Fetcher.fetch` does."""
        curl, lines = self._curl, list[bytes]()
        body = _Body(request.max_bytes, lines)
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in _sent(request)])
        if request.body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, request.body)
        curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, body.write)
        try:
            curl.perform()
        except pycurl.error as error:
            if not body.is_refused:
                raise _ours(int(error.args[0]), body, request.what) from error
        self.used_s = time.monotonic()
        return HttpAnswer(_status_in(lines), _headers_in(lines), body.getvalue())

    def close(self) -> None:
        """Close the connection."""
        self._curl.close()


class _Body(BytesIO):
    """Takes a body as it comes: in one buffer, which is then the frame, up to a limit."""

    def __init__(self, max_bytes: int, lines: list[bytes]) -> None:
        super().__init__()
        self._left = max_bytes
        self._lines = lines
        self.is_too_long = False
        self.is_refused = False

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # libcurl gives bytes
        """Take a piece; 0, which ends the transfer, if there is more than is wanted."""
        if not self.tell() and _status_in(self._lines) not in _WHOLE:
            self._left = min(self._left, _WORTH_READING_BYTES)
            self.is_refused = True
        self._left -= len(piece)
        if self._left < 0:
            self.is_too_long = True
            return 0
        return super().write(piece)


def _sent(request: HttpRequest) -> Iterator[tuple[str, str]]:
    yield from request.headers.items()
    yield "Expect", ""  # no waiting for a 100 Continue
    if request.body is not None and "Content-Type" not in request.headers:
        yield "Content-Type", ""  # libcurl's own would be that of a form


def _ours(code: int, body: _Body, what: str) -> CorruptPayloadError | OriginUnavailableError:
    """The error that libcurl's stands for (libcurl, "libcurl-errors")."""
    if body.is_too_long or code == pycurl.E_FILESIZE_EXCEEDED:
        return CorruptPayloadError(f"{what}: body too long")
    if code == pycurl.E_PARTIAL_FILE:
        return CorruptPayloadError(f"{what}: body shorter than announced")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return OriginUnavailableError(f"{what}: no answer in time")
    return OriginUnavailableError(f"{what}: libcurl's error {code}")


def _status_in(lines: list[bytes]) -> int:
    """The status of the last head: one of a proxy, or a 100, may have come before it."""
    for line in reversed(lines):
        if line.startswith(b"HTTP/"):
            return int(line.split(None, 2)[1])
    return 0


def _headers_in(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers.clear()
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


def _authorities(environment: Mapping[str, str]) -> dict[int, str]:
    """Whom to trust for TLS: as the environment says, or the system's authorities.

    The wheel's libcurl brings OpenSSL of its own, which does not know where the system keeps them.
    """
    for name in _CA_VARIABLES:
        place = environment.get(name)
        if place:
            return {pycurl.CAPATH if Path(place).is_dir() else pycurl.CAINFO: place}
    known = ssl.get_default_verify_paths()
    if known.cafile:
        return {pycurl.CAINFO: known.cafile}
    return {pycurl.CAPATH: known.capath} if known.capath else {}
