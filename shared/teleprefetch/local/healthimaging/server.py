"""HTTP/1.1 on loopback: a thread for each connection, kept alive between requests."""

import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from teleprefetch.local.healthimaging.throttle import Link
from teleprefetch.local.healthimaging.wire import Request, Response

Handler = Callable[[Request], Response]
_LINE_BYTES: Final = 16 * 1024
_HEADERS: Final = 100
_BODY_BYTES: Final = 4 * 1024 * 1024
_IDLE_S: Final = 60.0
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


class _BadRequestError(Exception):
    """What came is not an HTTP request this server reads; the connection ends."""

    def __init__(self, status: int) -> None:
        super().__init__(_REASONS[status])
        self.status = status


class _Connection(socketserver.StreamRequestHandler):
    """One client connection."""

    server: "HttpServer"
    timeout = _IDLE_S
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve requests until the client, or the server, has had enough."""
        try:
            while self._serve_one():
                pass
        except (ConnectionError, TimeoutError):
            # The client left or fell asleep: there is nobody to tell.
            return

    def _serve_one(self) -> bool:
        try:
            request, keep_alive = self._read_request()
        except _BadRequestError as error:
            self._write(Response(status=error.status), keep_alive=False, with_body=True)
            return False
        if request is None:
            return False
        response = self.server.answer(request)
        self._write(response, keep_alive=keep_alive, with_body=request.method != "HEAD")
        return keep_alive

    def _read_request(self) -> tuple[Request | None, bool]:
        line = self.rfile.readline(_LINE_BYTES)
        if not line:
            return None, False
        parts = line.decode("latin-1").split()
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _BadRequestError(400)
        headers = self._read_headers()
        body = self._read_body(headers)
        connection = headers.get("connection", "").lower()
        keep_alive = parts[2] == "HTTP/1.1" and connection != "close"
        return Request(parts[0], parts[1], headers, body), keep_alive

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_HEADERS):
            line = self.rfile.readline(_LINE_BYTES)
            if line in {b"\r\n", b"\n"}:
                return headers
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not line.endswith(b"\n"):
                raise _BadRequestError(400)
            key = name.strip().lower()
            text = value.strip()
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        raise _BadRequestError(431)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            raise _BadRequestError(411)
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise _BadRequestError(400)
        if int(length) > _BODY_BYTES:
            raise _BadRequestError(413)
        if headers.get("expect", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(length)) if int(length) else b""
        if len(body) != int(length):
            raise ConnectionResetError("the client left within a body")
        return body

    def _write(self, response: Response, *, keep_alive: bool, with_body: bool) -> None:
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}",
            f"Content-Length: {len(response.body)}",
            f"Content-Type: {response.content_type}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
            *(() if keep_alive else ("Connection: close",)),
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = response.body if with_body else b""
        if response.paced and self.server.link is not None:
            self.request.sendall(head)
            self._write_paced(body, self.server.link)
        else:
            self.request.sendall(head + body)

    def _write_paced(self, body: bytes, link: Link) -> None:
        view = memoryview(body)
        for start in range(0, len(body), link.CHUNK_BYTES):
            chunk = view[start : start + link.CHUNK_BYTES]
            link.carry(len(chunk))
            self.request.sendall(chunk)


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on loopback from construction on; serves between entering and leaving."""

    allow_reuse_address = True
    request_queue_size = 256
    daemon_threads = False
    block_on_close = True

    def __init__(self, *, port: int, answer: Handler, link: Link | None) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.answer = answer
        self.link = link
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="healthimaging-http"
        )

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.shutdown()
        self._thread.join()
        with self._open_lock:
            for connection in self._open:
                _hang_up(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection its thread, and remember it until it is closed."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has been served."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is closed already, which is what was wanted.
        return
