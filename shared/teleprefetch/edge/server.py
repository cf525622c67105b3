"""Speaks HTTP/1.1 for the node; frames go from the segment file to the socket (sendfile).

The protocol is all that is here: `Routes` decides what is answered, and `authorize` who is. A
faster protocol may take this module's place with the same two.
"""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl, urlsplit

from teleprefetch.edge.holdings import StoredFrame
from teleprefetch.edge.messages import Request, Response, refusal
from teleprefetch.edge.routes import Routes, refused
from teleprefetch.errors import AccessDeniedError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_IDLE_S: Final = 30.0
_POLL_S: Final = 0.1
_MOST_QUERY_FIELDS: Final = 100
Authorize = Callable[[Request], None]


def loopback_only(request: Request) -> None:
    """Let in who is on this machine, and nobody else: the default until readers have tokens.

    Raises:
        AccessDeniedError: the request came over a network.
    """
    if not ipaddress.ip_address(request.client).is_loopback:
        raise AccessDeniedError("client: not on this machine")


class EdgeServer:
    """A node's server on its own threads; it listens when made, and answers once started.

    Args:
        address: host and port; port 0 takes a free one.
        routes: what is answered.
        at_thread_end: called by each connection's thread as it ends.
        authorize: raises AccessDeniedError for requests that are refused; asked for each one.
    """

    def __init__(
        self,
        address: tuple[str, int],
        routes: Routes,
        *,
        at_thread_end: Callable[[], None],
        authorize: Authorize = loopback_only,
    ) -> None:
        self._server = _Server(address, routes, at_thread_end, authorize)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="http"
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Take no more connections, cut those that are open, and return when all is quiet."""
        self._server.shutdown()
        self._thread.join()
        self._server.cut_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        routes: Routes,
        at_thread_end: Callable[[], None],
        authorize: Authorize,
    ) -> None:
        self.routes = routes
        self.at_thread_end = at_thread_end
        self.authorize = authorize
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self.at_thread_end()

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    _LOG.debug("a connection had ended already")

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base's
        _LOG.exception("a connection ended by an error")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "teleprefetch"
    sys_version = ""
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Nothing: a path holds UIDs."""

    def _answer(self) -> None:
        try:
            response = self._response()
            with ExitStack() as files:
                self._send(response, files)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            _LOG.info("a client left before its answer ended")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def _response(self) -> Response:
        if self._has_body() or self._is_ambiguous():
            self.close_connection = True
            return refusal(400, "request: has a body, or not exactly one Host")
        url = urlsplit(self.path)
        try:
            query = parse_qsl(url.query, max_num_fields=_MOST_QUERY_FIELDS)
        except ValueError:
            return refusal(400, "query: too many fields")
        request = Request(
            method=self.command,
            path=url.path,
            query=tuple(query),
            headers={name.lower(): value for name, value in self.headers.items()},
            client=self.client_address[0],
        )
        try:
            self.server.authorize(request)
        except PrefetchError as error:
            return refused(error)
        return self.server.routes.answer(request)

    def _has_body(self) -> bool:
        length = self.headers.get("Content-Length", "0")
        return length != "0" or "Transfer-Encoding" in self.headers

    def _is_ambiguous(self) -> bool:
        return len(self.headers.get_all("Host", [])) != 1

    def _send(self, response: Response, files: ExitStack) -> None:
        try:
            opened = {
                part: files.enter_context(part.path.open("rb"))
                for part in response.body
                if isinstance(part, StoredFrame)
            }
        except FileNotFoundError:  # purged or evicted since the index was read
            response, opened = refusal(404, "frame: not held here"), {}
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if response.status not in {204, 304}:
            self.send_header("Content-Length", str(response.content_length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for part in response.body:
                self._send_part(part, opened)

    def _send_part(self, part: bytes | StoredFrame, opened: Mapping[StoredFrame, BinaryIO]) -> None:
        if isinstance(part, bytes):
            self.wfile.write(part)
            return
        sent = self.connection.sendfile(opened[part], part.offset, part.length_bytes)
        if sent != part.length_bytes:
            self.close_connection = True
            raise ConnectionAbortedError("a segment ended early")
