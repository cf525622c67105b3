"""Has a request answered: who asks, what is remembered, and who is to work on the rest."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from teleprefetch.edge.access.beside_token import request_id_of
from teleprefetch.edge.access.entries import Admitted, Doorway, TurnedAway, Visitor, answer_of
from teleprefetch.edge.access.stencil import composed, pieces_of_answer
from teleprefetch.edge.audit.log import Line
from teleprefetch.edge.dicomweb.messages import Miss, Request, Response, refusal
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.counting import Counting
from teleprefetch.edge.http.crowd import Crowd, Guest
from teleprefetch.edge.http.forming import Forming, borrow, cold, give_back, read_all
from teleprefetch.edge.http.outbox import Answered, Outbox, Told
from teleprefetch.edge.http.pools import Pool
from teleprefetch.edge.http.remembered import Entry, Key, Outgoing, Remembered, rest_of
from teleprefetch.edge.http.repeats import Repeats
from teleprefetch.edge.watching.board import Figure
from teleprefetch.errors import InvalidPayloadError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_BUSY: Final = refusal(503, "server: too much waits", ("Retry-After", "1"))
_UNRECORDED: Final = refusal(503, "node: cannot be recorded now", ("Retry-After", "1"))
_NO_DISK: Final = refusal(503, "store: the disk cannot be read")


class _Job(NamedTuple):
    request: Request
    place: Place
    key: Key | None
    began_ns: int
    told: Told


class _Made(NamedTuple):
    """What a thread made of a request; `admitted` None: nothing but what `line` has is recorded."""

    response: Response | Miss
    admitted: Admitted | None = None
    line: Line | None = None


class Service:
    """What the connections of one process share; for the event loop's thread.

    Args:
        routes: what is answered.
        doorway: decides about every request, and takes the records.
        pool: threads for tokens, policies, the index, the disk and codecs.
        origin_pool: threads that wait for the archive.
        counting: counters and the access log.
        crowd: the connections.
        scheme: how clients reach this server.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        doorway: Doorway,
        pool: Pool,
        origin_pool: Pool,
        counting: Counting,
        crowd: Crowd,
        scheme: str,
    ) -> None:
        self.scheme = scheme
        self._routes = routes
        self._doorway = doorway
        self._pool = pool
        self._origin_pool = origin_pool
        self._counting = counting
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._remembered = Remembered(routes.holdings)
        self._forming = Forming()
        self._outbox = Outbox(doorway.lines, self._denied, guests=lambda: len(crowd))
        self._is_sweeping = False
        self.head_of = self._forming.head_of
        self.note = counting.note

    def admit(self, guest: Guest) -> bool:
        """Let a connection in, if there is room."""
        is_in = self._crowd.admit(guest)
        if not is_in:
            self._counting.board.add(Figure.CONNECTIONS_REFUSED)
        return is_in

    def left(self, guest: Guest) -> None:
        """Forget a connection that has closed."""
        self._crowd.leave(guest)

    def recall(self, target: bytes, repeats: Repeats, told: Told) -> bool:
        """Give a remembered answer, if the client may have it and no disk is waited for.

        False: it is not given, and the long way tells why.
        """
        if repeats.rest is None:
            return False
        key = (target, repeats.rest)
        entry = self._remembered.find(key)
        if entry is None:
            return False
        visitor = repeats.visitor
        if visitor is None or not self._doorway.is_current(visitor):
            visitor = repeats.visitor = self._doorway.known(repeats.headers, repeats.client)
        return visitor is not None and self._recall(key, entry, visitor, told)

    def answer(self, request: Request, target: bytes, told: Told) -> Answered | None:
        """The answer if it can be given at once; otherwise `told` is called with it later."""
        rest = rest_of(request)
        key = None if rest is None else (target, rest)
        entry = None if key is None else self._remembered.find(key)
        if key is not None and entry is not None:
            visitor = self._doorway.known(request.headers, request.client)
            name = request_id_of(request.headers)
            if visitor is not None and self._recall(key, entry, visitor, told, request_id=name):
                return None
        job = _Job(request, self._routes.place_of(request), key, time.monotonic_ns(), told)
        self._counting.count()
        return self._submit(self._pool, partial(self._work, request, job.place), job, "store")

    def refused(self, status: int, reason: str) -> Answered:
        """An answer that says why not."""
        return Answered(self._forming.outgoing(refusal(status, reason)), "store")

    def sweep(self) -> None:
        """Keep to the deadlines, and write down what waits; every half second."""
        self._forming.sweep()
        board = self._counting.board
        board.add(Figure.CONNECTIONS_TIMED_OUT, self._crowd.check_deadlines(self._loop.time()))
        board.put(Figure.CONNECTIONS, len(self._crowd))
        board.put(Figure.CONNECTIONS_EVICTED, self._crowd.evicted)
        self._remembered.tell_served()
        self._counting.sweep(self._pool)
        if not self._is_sweeping:
            self._is_sweeping = self._pool.submit(self._doorway.sweep, self._swept)

    def close(self) -> None:
        """Close the files, and write the rest of the log."""
        self._counting.close()
        self._forming.close()

    def _recall(
        self, key: Key, entry: Entry, visitor: Visitor, told: Told, *, request_id: str = ""
    ) -> bool:
        try:
            written = self._doorway.recall(visitor, entry.action, entry.basis.study_instance_uid)
            if written is None or not self._remembered.is_true(key, entry):
                return False
        except PrefetchError:
            return False
        if cold(entry.outgoing):
            return False
        line = (written.kind, composed(written.pieces, entry.pieces, request_id=request_id))
        self._outbox.post(line, Answered(entry.outgoing, "memory"), told)
        return True

    def _denied(self) -> Answered:
        return Answered(self._forming.outgoing(_UNRECORDED), "store")

    def _swept(self, _answer: Any, failure: BaseException | None) -> None:
        self._is_sweeping = False
        if failure is not None:
            _LOG.error("looking after the doorway failed", exc_info=failure)

    def _work(self, request: Request, place: Place) -> _Made:
        """Decide, and then answer; on a thread."""
        entry = self._doorway.admit(request, place)
        if entry is None:
            return _Made(self._routes.answer(request, place, frozenset))
        if isinstance(entry, TurnedAway):
            kind = "" if place.route is None else place.route.kind
            record = entry.record
            line = None if record is None else (record.kind, record.canonical())
            return _Made(replace(entry.response, kind=kind), line=line)
        return _Made(self._answer(partial(self._routes.answer, request, place, entry.sees)), entry)

    def _answer(self, answer: Callable[[], Response | Miss]) -> Response | Miss:
        """What was admitted is answered and recorded, even by an error of our own."""
        try:
            return answer()
        except Exception as error:  # noqa: BLE001  # it is told, and the answer has its record
            _LOG.error("a request ended by an error", exc_info=error)
            return refusal(500, "server: an error of its own")

    def _submit(
        self, pool: Pool, work: Callable[[], _Made], job: _Job, source: str
    ) -> Answered | None:
        if pool.submit(work, partial(self._from_thread, job, source)):
            return None
        return Answered(self._forming.outgoing(_BUSY), "store")

    def _from_thread(
        self, job: _Job, source: str, made: _Made | None, failure: BaseException | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._worked, job, source, made, failure)

    def _worked(
        self, job: _Job, source: str, made: _Made | None, failure: BaseException | None
    ) -> None:
        if made is None:
            _LOG.error("a request ended by an error", exc_info=failure)
            made = _Made(refusal(500, "server: an error of its own"))
        if not isinstance(made.response, Miss):
            self._finish(job, source, made.response, made)
            return
        work = partial(self._fetch, made.response, made.admitted)
        if not self._origin_pool.submit(work, partial(self._from_thread, job, "origin")):
            self._finish(job, source, _BUSY, made)

    def _fetch(self, miss: Miss, admitted: Admitted | None) -> _Made:
        return _Made(self._answer(miss.fetch), admitted)

    def _finish(self, job: _Job, source: str, response: Response, made: _Made) -> None:
        """Have the disk read what it must, and then record and send the answer."""
        outgoing = self._forming.outgoing(response)
        waited_for = cold(outgoing)
        if not waited_for:
            self._conclude(job, source, response, made, outgoing)
            return
        borrow(outgoing)
        read = partial(self._read, job, source, response, made, outgoing)
        if not self._pool.submit(partial(read_all, waited_for), read):
            give_back(outgoing)
            self._conclude(job, source, _BUSY, made, self._forming.outgoing(_BUSY))

    def _read(self, *made: Any) -> None:
        self._loop.call_soon_threadsafe(self._has_read, *made)

    def _has_read(
        self,
        job: _Job,
        source: str,
        response: Response,
        made: _Made,
        outgoing: Outgoing,
        _answer: Any,
        failure: BaseException | None,
    ) -> None:
        if failure is None:
            self._conclude(job, source, response, made, outgoing)
        else:
            self._conclude(job, source, _NO_DISK, made, self._forming.outgoing(_NO_DISK))
        give_back(outgoing)

    def _conclude(
        self, job: _Job, source: str, response: Response, made: _Made, outgoing: Outgoing
    ) -> None:
        line = made.line
        if made.admitted is not None:
            line, outgoing = self._recorded(job, source, response, made.admitted, outgoing)
        answered = Answered(outgoing, source)
        if line is None:
            job.told(answered)
        else:
            self._outbox.post(line, answered, job.told)

    def _recorded(
        self, job: _Job, source: str, response: Response, admitted: Admitted, outgoing: Outgoing
    ) -> tuple[Line, Outgoing]:
        """The record of an answer as it goes out, which is remembered if it may be."""
        action = job.place.action
        is_head = job.request.method == "HEAD"
        answer = answer_of(
            response,
            status=outgoing.status,
            size_bytes=0 if is_head else outgoing.length_bytes,
            is_origin=source == "origin",
            action=action,
        )
        try:
            record = admitted.record(answer)
            line = (record.kind, record.canonical())
        except InvalidPayloadError as error:
            brief = answer_of(
                refusal(400, str(error)), status=400, size_bytes=0, is_origin=False, action=action
            )
            record = admitted.record(brief)
            return (record.kind, record.canonical()), self.refused(400, str(error)).outgoing
        if job.key is not None and response.basis and outgoing.status == 200 and action:
            pieces = pieces_of_answer(replace(answer, source="hit"))
            self._remembered.keep(
                job.key, outgoing, response.basis,
                action=action, pieces=pieces, began_ns=job.began_ns,
            )  # fmt: skip
        return line, outgoing
