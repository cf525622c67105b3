"""Has a request answered: who asks, what is remembered, and who is to work on the rest."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from teleprefetch.edge.dicomweb.messages import Miss, Request, Response, refusal
from teleprefetch.edge.dicomweb.routes import Routes, refused
from teleprefetch.edge.http.crowd import Crowd, Guest
from teleprefetch.edge.http.descriptors import Descriptor, Descriptors, is_in_memory, read_ahead
from teleprefetch.edge.http.links import FilePiece, Piece
from teleprefetch.edge.http.pools import Pool
from teleprefetch.edge.http.remembered import Key, Outgoing, Remembered, Rest, rest_of
from teleprefetch.edge.watching.access import AccessLog, Note
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.errors import PrefetchError

_LOG: Final = logging.getLogger(__name__)
_SLOW_DOWN: Final = ("Retry-After", "1")
_NOTES_AT_ONCE: Final = 64
_STARTS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
Authorize = Callable[[Request], None]


class Answered(NamedTuple):
    """An answer, and where it came from."""

    outgoing: Outgoing
    source: str


Told = Callable[[Answered], None]


class _Job(NamedTuple):
    request: Request
    key: Key | None
    began_ns: int
    told: Told


class Service:
    """What the connections of one process share; for the event loop's thread.

    Args:
        routes: what is answered.
        authorize: raises AccessDeniedError for requests that are refused; asked for each one, on
            the event loop, so that it must not wait.
        pool: threads for the index, the disk and codecs.
        origin_pool: threads that wait for the archive.
        board: counters.
        log: the access log.
        crowd: the connections.
        scheme: how clients reach this server.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        authorize: Authorize,
        pool: Pool,
        origin_pool: Pool,
        board: Board,
        log: AccessLog,
        crowd: Crowd,
        scheme: str,
    ) -> None:
        self.scheme = scheme
        self._routes = routes
        self._authorize = authorize
        self._pool = pool
        self._origin_pool = origin_pool
        self._board = board
        self._log = log
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._remembered = Remembered(routes.holdings)
        self._descriptors = Descriptors()
        self._notes: list[Note] = []
        self._date = _date()

    def admit(self, guest: Guest) -> bool:
        """Let a connection in, if there is room."""
        is_in = self._crowd.admit(guest)
        if not is_in:
            self._board.add(Figure.CONNECTIONS_REFUSED)
        return is_in

    def left(self, guest: Guest) -> None:
        """Forget a connection that has closed."""
        self._crowd.leave(guest)

    def recall(
        self, target: bytes, rest: Rest, headers: Mapping[str, str], client: str
    ) -> Outgoing | None:
        """The remembered answer to a GET, if the client may have it and no disk is waited for."""
        key = (target, rest)
        asked = self._remembered.asked(key)
        if asked is None:
            return None
        try:
            self._authorize(Request("GET", asked[0], asked[1], headers, client, self.scheme))
            outgoing = self._remembered.find(key)
        except PrefetchError:
            return None  # it is told why on the long way
        if outgoing is None or _cold(outgoing):
            return None
        return outgoing

    def answer(self, request: Request, target: bytes, told: Told) -> Answered | None:
        """The answer if it can be given at once; otherwise `told` is called with it later."""
        rest = rest_of(request)
        key = None if rest is None else (target, rest)
        try:
            self._authorize(request)
            outgoing = None if key is None else self._remembered.find(key)
        except PrefetchError as error:
            return self.outgoing(refused(error))
        if outgoing is not None:
            return self._when_in_memory(Answered(outgoing, "memory"), told)
        self._count()
        job = _Job(request, key, time.monotonic_ns(), told)
        return self._submit(self._pool, partial(self._routes.answer, request), job, "store")

    def outgoing(self, response: Response, source: str = "store") -> Answered:
        """A response as it goes out; a file that is gone by now makes it a refusal."""
        try:
            pieces, descriptors = self._pieces(response)
        except FileNotFoundError:  # purged or evicted since the index was read
            return self.outgoing(refusal(404, "frame: not held here"), source)
        except OSError:
            return self.outgoing(refusal(503, "store: the disk cannot be read"), source)
        length = response.content_length
        lines = [f"{name}: {value}\r\n" for name, value in response.headers]
        if response.status not in {204, 304}:
            lines.append(f"Content-Length: {length}\r\n")
        return Answered(
            Outgoing(
                status=response.status,
                start=_STARTS[response.status],
                headers="".join(lines).encode("latin-1"),
                pieces=pieces,
                length_bytes=length,
                kind=response.kind,
                descriptors=descriptors,
            ),
            source,
        )

    def head_of(self, outgoing: Outgoing, *, keeps_alive: bool) -> bytes:
        """The head of an answer that goes out now."""
        end = b"\r\n" if keeps_alive else b"Connection: close\r\n\r\n"
        return b"".join((outgoing.start, self._date, outgoing.headers, end))

    def begun(self, outgoing: Outgoing) -> None:
        """Keep the files of an answer open until `ended`."""
        for descriptor in outgoing.descriptors:
            descriptor.borrow()

    def ended(self, outgoing: Outgoing) -> None:
        """Undo `begun`."""
        for descriptor in outgoing.descriptors:
            descriptor.give_back()

    def note(
        self, outgoing: Outgoing, source: str, *, began_ns: int, sent_bytes: int, is_whole: bool
    ) -> None:
        """Take down an answer that was sent, or given up."""
        if not is_whole:
            self._board.add(Figure.ANSWERS_CUT)
        duration_us = (time.monotonic_ns() - began_ns) // 1000
        self._notes.append(Note(outgoing.status, sent_bytes, duration_us, outgoing.kind, source))
        if len(self._notes) >= _NOTES_AT_ONCE:
            self._count()

    def sweep(self) -> None:
        """Keep to the deadlines, and write down what waits; every half second."""
        self._date = _date()
        self._count()
        timed_out = self._crowd.check_deadlines(self._loop.time())
        self._board.add(Figure.CONNECTIONS_TIMED_OUT, timed_out)
        self._board.put(Figure.CONNECTIONS, len(self._crowd))
        self._board.put(Figure.CONNECTIONS_EVICTED, self._crowd.evicted)
        self._board.measure_memory()
        self._descriptors.sweep()
        self._remembered.tell_served()
        lines = self._log.take()
        if lines and not self._pool.submit(partial(self._log.write, lines), self._written):
            self._board.add(Figure.LOG_LINES_DROPPED, len(lines))

    def close(self) -> None:
        """Close the files, and write the rest of the log."""
        self._count()
        self._descriptors.close()
        self._log.write(self._log.take())

    def _count(self) -> None:
        """Hand what was taken down to the counters and the log."""
        notes, self._notes = self._notes, []
        if notes:
            self._board.answered(notes)
            self._board.add(Figure.LOG_LINES_DROPPED, self._log.note(notes))

    def _written(self, _answer: Any, failure: BaseException | None) -> None:
        if failure is not None:
            _LOG.warning("the access log cannot be written: %s", type(failure).__name__)

    def _submit(
        self, pool: Pool, work: Callable[[], Any], job: _Job, source: str
    ) -> Answered | None:
        if pool.submit(work, partial(self._from_thread, job, source)):
            return None
        return self.outgoing(refusal(503, "server: too much waits", _SLOW_DOWN))

    def _from_thread(
        self, job: _Job, source: str, answer: Any, failure: BaseException | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._worked, job, source, answer, failure)

    def _worked(self, job: _Job, source: str, answer: Any, failure: BaseException | None) -> None:
        if isinstance(answer, Miss):
            refusal_now = self._submit(self._origin_pool, answer.fetch, job, "origin")
            if refusal_now is not None:
                job.told(refusal_now)
            return
        if failure is not None:
            _LOG.error("a request ended by an error", exc_info=failure)
            answer = refusal(500, "server: an error of its own")
        answered = self.outgoing(answer, source)
        outgoing, basis = answered.outgoing, answer.basis
        if job.key is not None and basis is not None and outgoing.status == 200:
            self._remembered.keep(job.key, job.request, outgoing, basis, began_ns=job.began_ns)
        at_once = self._when_in_memory(answered, job.told)
        if at_once is not None:
            job.told(at_once)

    def _when_in_memory(self, answered: Answered, told: Told) -> Answered | None:
        """The answer if no disk is to be waited for; otherwise a thread waits, then tells."""
        cold = _cold(answered.outgoing)
        if not cold:
            return answered
        self.begun(answered.outgoing)
        if self._pool.submit(partial(_read_all, cold), partial(self._read, answered, told)):
            return None
        self.ended(answered.outgoing)
        return self.outgoing(refusal(503, "server: too much waits", _SLOW_DOWN))

    def _read(
        self, answered: Answered, told: Told, _answer: Any, failure: BaseException | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._has_read, answered, told, failure)

    def _has_read(self, answered: Answered, told: Told, failure: BaseException | None) -> None:
        if failure is None:
            told(answered)
        else:
            told(self.outgoing(refusal(503, "store: the disk cannot be read")))
        self.ended(answered.outgoing)

    def _pieces(self, response: Response) -> tuple[tuple[Piece, ...], tuple[Descriptor, ...]]:
        opened: dict[Any, Descriptor] = {}
        pieces: list[Piece] = []
        for part in response.body:
            if isinstance(part, bytes):
                pieces.append(part)
                continue
            if part.path not in opened:
                opened[part.path] = self._descriptors.of(part.path)
            pieces.append(FilePiece(opened[part.path], part.offset, part.length_bytes))
        return tuple(pieces), tuple(opened.values())


def _cold(outgoing: Outgoing) -> list[FilePiece]:
    return [
        piece
        for piece in outgoing.pieces
        if not isinstance(piece, bytes)
        and not is_in_memory(piece.descriptor.number, piece.offset, piece.length_bytes)
    ]


def _date() -> bytes:
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()


def _read_all(pieces: list[FilePiece]) -> None:
    for piece in pieces:
        read_ahead(piece.descriptor.number, piece.offset, piece.length_bytes)
