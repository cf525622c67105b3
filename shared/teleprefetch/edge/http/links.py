"""Sends the pieces of an answer over one connection, and never waits on the event loop.

Without TLS, bytes go to the socket by `send` and pieces of files by `sendfile`, so that they never
enter this process; a full socket is waited for by the loop. The transport does the reading. Its
socket is duplicated, because the loop does not let a transport's own be waited for.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from teleprefetch.edge.http.descriptors import Descriptor

_TURN_BYTES: Final = 4 << 20
_CHUNK_BYTES: Final = 256 << 10
_SMALL_BYTES: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A piece of an open file."""

    descriptor: Descriptor
    offset: int
    length_bytes: int


Piece = bytes | FilePiece


def joined(head: bytes, body: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """A head and a body, in one piece as far as both are small."""
    if body and isinstance(body[0], bytes) and len(body[0]) <= _SMALL_BYTES:
        return (head + body[0], *body[1:])
    return (head, *body)


def _leading_bytes(pieces: Iterable[Piece]) -> list[bytes]:
    found: list[bytes] = []
    for piece in pieces:
        if not isinstance(piece, bytes):
            break
        found.append(piece)
    return found


class Link(Protocol):
    """One connection's way out; `on_end` is called once for each `send` that did not end at once.

    It is told whether all was sent; if not, the connection is of no more use.
    """

    @property
    def sent_bytes(self) -> int:
        """How much was given to the system, in all."""

    def send(self, pieces: Iterable[Piece]) -> bool | None:
        """Send pieces: True if they are sent, False if they cannot be; None: `on_end` will say."""

    def end(self) -> None:
        """Say to the other side that nothing more comes."""

    def close(self) -> None:
        """Wait for nothing any more."""

    def pause(self) -> None:
        """The transport's buffer is full."""

    def resume(self) -> None:
        """The transport's buffer has room again."""


class PlainLink:
    """A link without TLS."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        on_end: Callable[[bool], None],
    ) -> None:
        self.sent_bytes = 0
        self._loop = loop
        self._on_end = on_end
        original: socket.socket = transport.get_extra_info("socket")
        self._socket = socket.socket(original.family, original.type, 0, os.dup(original.fileno()))
        self._socket.setblocking(False)
        self._number = self._socket.fileno()
        self._pieces: deque[Piece] = deque()
        self._done_bytes = 0
        self._is_waiting = False
        self._is_corked = False

    def send(self, pieces: Iterable[Piece]) -> bool | None:
        """Send pieces, as far as the socket takes them now."""
        self._pieces.extend(pieces)
        if not self._is_corked and len(self._pieces) > 1 and self._has_files():
            # The pieces of an answer share packets (tcp(7)): each packet wakes the client.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self._is_corked = True
        return self._push()

    def end(self) -> None:
        """Send FIN; reading goes on."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._pieces.clear()  # the other side is gone already

    def close(self) -> None:
        """Close the duplicate; the transport closes the other."""
        self._stop_waiting()
        self._pieces.clear()
        self._socket.close()

    def pause(self) -> None:
        """Nothing: the transport writes nothing."""

    def resume(self) -> None:
        """Nothing: the transport writes nothing."""

    def _push(self) -> bool | None:
        left = _TURN_BYTES
        try:
            while self._pieces and left > 0:
                count = self._send_some(self._pieces[0])
                if count == 0:
                    return False  # the file was cut short
                self._advance(count)
                left -= count
        except BlockingIOError:
            left = 0
        except OSError:
            return False
        if self._pieces:
            self._wait()
            return None
        if self._is_corked:
            # This sends what is queued, and leaves the cork where it is (tcp(7), TCP_NODELAY).
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True

    def _has_files(self) -> bool:
        return any(isinstance(piece, FilePiece) for piece in self._pieces)

    def _send_some(self, piece: Piece) -> int:
        done = self._done_bytes
        if not isinstance(piece, bytes):
            number, left = piece.descriptor.number, piece.length_bytes - done
            return os.sendfile(self._number, number, piece.offset + done, left)
        if done:
            return self._socket.send(memoryview(piece)[done:])
        if len(self._pieces) > 1 and isinstance(self._pieces[1], bytes):
            return self._socket.sendmsg(_leading_bytes(self._pieces))
        return self._socket.send(piece)

    def _advance(self, count: int) -> None:
        self.sent_bytes += count
        done = self._done_bytes + count
        while self._pieces:
            piece = self._pieces[0]
            length = len(piece) if isinstance(piece, bytes) else piece.length_bytes
            if done < length:
                break
            self._pieces.popleft()
            done -= length
        self._done_bytes = done

    def _wait(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._loop.remove_writer(self._socket.fileno())

    def _writable(self) -> None:
        ended = self._push()
        if ended is not None:
            self._stop_waiting()
            self._on_end(ended)


class TlsLink:
    """A link through a transport that encrypts: what is sent is read first, in chunks."""

    def __init__(self, transport: asyncio.Transport, on_end: Callable[[bool], None]) -> None:
        self._transport = transport
        self._on_end = on_end
        self._pieces: deque[Piece] = deque()
        self._done_bytes = 0
        self._is_paused = False
        self._written_bytes = 0

    @property
    def sent_bytes(self) -> int:
        """How much has left the transport's buffer."""
        return self._written_bytes - self._transport.get_write_buffer_size()

    def send(self, pieces: Iterable[Piece]) -> bool | None:
        """Encrypt pieces, as far as the transport takes them now."""
        self._pieces.extend(pieces)
        return self._push()

    def end(self) -> None:
        """Nothing: with TLS the transport's close says it."""

    def close(self) -> None:
        """Forget what was not sent."""
        self._pieces.clear()

    def pause(self) -> None:
        """Wait for `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        if self._pieces:
            ended = self._push()
            if ended is not None:
                self._on_end(ended)

    def _push(self) -> bool | None:
        while self._pieces and not self._is_paused:
            try:
                chunk = self._next_chunk(self._pieces[0])
            except OSError:
                return False
            if not chunk:
                return False  # the file was cut short
            self._written_bytes += len(chunk)
            self._transport.write(chunk)
            if self._transport.is_closing():
                return False
        return None if self._pieces else True

    def _next_chunk(self, piece: Piece) -> bytes:
        if isinstance(piece, bytes):
            self._pieces.popleft()
            return piece
        left = piece.length_bytes - self._done_bytes
        number, offset = piece.descriptor.number, piece.offset + self._done_bytes
        chunk = os.pread(number, min(left, _CHUNK_BYTES), offset)
        self._done_bytes += len(chunk)
        if self._done_bytes == piece.length_bytes:
            self._pieces.popleft()
            self._done_bytes = 0
        return chunk
