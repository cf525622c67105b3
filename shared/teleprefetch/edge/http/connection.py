"""One connection: requests in, one after the other, and answers out in that order."""

import asyncio
import math
import time
from typing import Final, cast

from teleprefetch.edge.http.crowd import Limits
from teleprefetch.edge.http.forming import borrow, give_back
from teleprefetch.edge.http.heads import MOST_HEAD_BYTES, BadRequestError, read_head
from teleprefetch.edge.http.links import Link, PlainLink, TlsLink, joined
from teleprefetch.edge.http.origins import WebOrigins
from teleprefetch.edge.http.outbox import Answered
from teleprefetch.edge.http.proxies import Proxies
from teleprefetch.edge.http.repeats import Repeats
from teleprefetch.edge.http.service import Service

_END: Final = b"\r\n\r\n"
_MOST_BUFFERED_BYTES: Final = 64 * 1024
_REQUESTS_A_TURN: Final = 16


class Connection(asyncio.Protocol):
    """Reads requests, has the service answer them, and keeps to the limits."""

    _link: Link
    _transport: asyncio.Transport

    def __init__(
        self, service: Service, limits: Limits, proxies: Proxies, origins: WebOrigins
    ) -> None:
        self._service = service
        self._limits = limits
        self._proxies = proxies
        self._origins = origins
        self._further = b""
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._repeats = Repeats()
        self._is_busy = False
        self._is_closed = False
        self._is_lingering = False
        self._is_tls = False
        self._keeps_alive = True
        self._is_head = False
        self._is_paused = False
        self._is_waiting = False
        self._sending: Answered | None = None
        self._began_ns = 0
        self._sent_before = 0
        self._sent_seen = 0
        self._since = self._loop.time()
        self._deadline = self._since + limits.idle_s
        self.address = ""

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for a request; None while one is answered."""
        return None if self._is_busy else self._since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or not."""
        self._transport = cast("asyncio.Transport", transport)
        self.address = (transport.get_extra_info("peername") or ("",))[0]
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        if self._is_tls:
            self._link = TlsLink(self._transport, self._sent)
        else:
            self._link = PlainLink(self._loop, self._transport, self._sent)
        if not self._service.admit(self):
            self._refuse(BadRequestError("server: too many connections", status=503))
            self._close()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._is_lingering or self._is_closed:
            return
        if not self._buffer and not self._is_busy:
            target = self._repeats.target_of(data)
            if target is not None and self._answer_at_once(target):
                return
            self._since = self._loop.time()
            self._deadline = self._since + self._limits.head_s
        self._buffer = self._buffer + data if self._buffer else data
        self._go_on()

    def eof_received(self) -> bool:
        """Answer what was asked before the client closed its side, and close."""
        self._keeps_alive = False
        return self._is_busy and not self._is_tls

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        """Forget the connection."""
        self._end_link()
        self._service.left(self)

    def pause_writing(self) -> None:
        """Tell the link that the transport is full."""
        self._link.pause()

    def resume_writing(self) -> None:
        """Tell the link that the transport has room."""
        self._link.resume()

    def check_deadlines(self, now: float) -> bool:
        """Close it if a deadline has passed; True if so."""
        if self._sending is not None and self._link.sent_bytes != self._sent_seen:
            self._sent_seen, self._since = self._link.sent_bytes, now
        is_stalled = self._sending is not None and now - self._since > self._limits.stall_s
        if now < self._deadline and not is_stalled:
            return False
        if self._buffer and not (self._is_busy or self._is_lingering):
            self._refuse(BadRequestError("request: its head took too long", status=408))
        else:
            self.cut()
        return True

    def leave_soon(self) -> None:
        """Close it when its answer has ended, or at once."""
        self._keeps_alive = False
        if not self._is_busy:
            self.cut()

    def cut(self) -> None:
        """Close it at once."""
        if not self._is_closed:
            self._end_link()
            self._transport.abort()

    def _go_on(self) -> None:
        """Answer what is in the buffer, some requests at a time."""
        for _ in range(_REQUESTS_A_TURN):
            if self._is_busy or self._is_closed or self._is_lingering:
                break
            if not self._answer_next():
                break
        else:
            self._loop.call_soon(self._go_on)
        if not self._is_closed:
            self._hold_back(len(self._buffer) > _MOST_BUFFERED_BYTES)

    def _hold_back(self, is_full: bool) -> None:
        if is_full != self._is_paused:
            self._is_paused = is_full
            if is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _answer_at_once(self, target: bytes) -> bool:
        """Answer a request with the headers of the last one, from memory; False if it is not."""
        began_ns = time.monotonic_ns()
        if not self._service.recall(target, self._repeats, self._answered):
            return False
        self._began_ns = began_ns
        self._further = self._origins.headers_of("GET", self._repeats.headers)
        self._is_busy = True
        self._is_head = False
        self._deadline = math.inf
        return True

    def _answer_next(self) -> bool:
        """Begin to answer the next request in the buffer; False if there is none."""
        try:
            raw = self._next_raw()
            if raw is None:
                return False
            self._began_ns = time.monotonic_ns()
            head = read_head(raw)
            client = self._proxies.client_of(self.address, head.headers)
            request = head.request(client=client, scheme=self._service.scheme)
        except BadRequestError as refused:
            self._refuse(refused)
            return False
        self._repeats.learn(raw, head, request)
        self._further = self._origins.headers_of(head.method, head.headers)
        self._is_busy = True
        self._keeps_alive = self._keeps_alive and head.keeps_alive
        self._is_head = head.method == "HEAD"
        self._deadline = math.inf
        answered = self._service.answer(request, head.target, self._answered)
        if answered is not None:
            self._send(answered)
        return True

    def _next_raw(self) -> bytes | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 2.2: an empty line before is ignored
            self._buffer = self._buffer[2:]
        buffer = self._buffer
        end = buffer.find(_END, 0, MOST_HEAD_BYTES)
        if end >= 0:
            end += len(_END)
            self._buffer = buffer[end:]
            return buffer[:end]
        if len(buffer) >= MOST_HEAD_BYTES:
            raise BadRequestError("request: its head is too long", status=431)
        if b"\n\n" in buffer or b"\n\r\n" in buffer:
            raise BadRequestError("request: a line is malformed, or folded")
        return None

    def _refuse(self, error: BadRequestError) -> None:
        """Say why, and close: what follows on this connection cannot be told apart."""
        self._buffer = self._further = b""
        self._is_busy = True
        self._keeps_alive = False
        self._is_head = False
        self._began_ns = time.monotonic_ns()
        self._send(self._service.refused(error.status, error.reason))

    def _answered(self, answered: Answered) -> None:
        """Send an answer that came later."""
        if not self._is_closed:
            self._send(answered)
            if self._buffer:
                self._go_on()

    def _send(self, answered: Answered) -> None:
        outgoing = answered.outgoing
        link = self._link
        before = link.sent_bytes
        head = self._service.head_of(outgoing, keeps_alive=self._keeps_alive, further=self._further)
        is_whole = link.send((head,) if self._is_head else joined(head, outgoing.pieces))
        self._sending, self._sent_before = answered, before
        if is_whole is None:
            self._is_busy = True
            self._wait_for(answered)
        else:
            self._finish(is_whole)

    def _wait_for(self, answered: Answered) -> None:
        """Keep the files open, and the client to its deadlines, until all is sent."""
        borrow(answered.outgoing)
        self._is_waiting = True
        self._since = self._loop.time()
        self._sent_seen = self._link.sent_bytes
        slowest_s = answered.outgoing.length_bytes / self._limits.slowest_bytes_per_s
        self._deadline = self._since + self._limits.stall_s + slowest_s

    def _sent(self, is_whole: bool) -> None:
        """Go on after an answer that took more than one turn."""
        if not self._is_closed:
            self._finish(is_whole)
            if self._buffer:
                self._go_on()

    def _finish(self, is_whole: bool) -> None:
        self._note_end(is_whole)
        self._is_busy = False
        self._since = self._loop.time()
        self._deadline = self._since + (
            self._limits.head_s if self._buffer else self._limits.idle_s
        )
        if not is_whole:
            self.cut()
        elif not self._keeps_alive:
            self._linger()

    def _note_end(self, is_whole: bool) -> None:
        answered, self._sending = self._sending, None
        if answered is None:
            return
        if self._is_waiting:
            self._is_waiting = False
            give_back(answered.outgoing)
        self._service.note(
            answered.outgoing,
            answered.source,
            began_ns=self._began_ns,
            sent_bytes=self._link.sent_bytes - self._sent_before,
            is_whole=is_whole,
        )

    def _linger(self) -> None:
        """Close this side first: a close with unread input would take the answer away again."""
        self._buffer = b""
        self._is_lingering = True
        self._deadline = self._since + self._limits.linger_s
        self._link.end()
        if self._is_tls:
            self._close()

    def _close(self) -> None:
        if not self._is_closed:
            self._end_link()
            self._transport.close()

    def _end_link(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._note_end(is_whole=False)
            self._link.close()
