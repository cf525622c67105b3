"""A server on loopback that answers with exact bytes and then closes, resets or falls silent."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Literal

_LINGER_0 = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """What is sent, byte for byte, and what then becomes of the connection."""

    sent: bytes
    then: Literal["close", "reset", "silence", "keep"] = "close"


def http(
    status: str, body: bytes = b"", *, then: Literal["close", "keep"] = "keep", **headers: str
) -> Reply:
    """A whole answer with its Content-Length; `_` in a header's name stands for `-`."""
    lines = {"Content_Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return Reply(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body, then)


@dataclass
class FaultyServer:
    """Answers the nth request, from 0, with `answer(n)`."""

    answer: Callable[[int], Reply]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)
    open: set[socket.socket] = field(default_factory=set)

    def serve(self, listener: socket.socket) -> None:
        threads = []
        while not self.stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            self.open.add(connection)
            threads.append(Thread(target=self._converse, args=(connection,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self.stopped.set()
        for connection in tuple(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._reply(connection):
                    pass
            except OSError:
                pass
        self.open.discard(connection)

    def _reply(self, connection: socket.socket) -> bool:
        request = _read_request(connection)
        if not request:
            return False
        self.requests.append(request)
        reply = self.answer(len(self.requests) - 1)
        connection.sendall(reply.sent)
        if reply.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        if reply.then == "silence":
            self.stopped.wait()
        return reply.then == "keep"


@contextmanager
def run_faulty_server(*replies: Reply) -> Iterator[FaultyServer]:
    """A server that gives the replies in turn, then the last one for ever."""
    with _running(FaultyServer(lambda n: replies[min(n, len(replies) - 1)])) as server:
        yield server


@contextmanager
def run_answering_server(answer: Callable[[bytes], Reply]) -> Iterator[FaultyServer]:
    """A server that answers each request by its bytes."""
    server = FaultyServer(lambda n: answer(server.requests[n]))
    with _running(server):
        yield server


@contextmanager
def _running(server: FaultyServer) -> Iterator[FaultyServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
