"""Reads over HTTP that end: no redirects, and limits on time and size; errors in our words."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import IncompleteRead
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import HTTPError, InvalidChunkLength, ProtocolError

from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)

_PIECE_BYTES: Final = 256 * 1024
_WORTH_READING_BYTES: Final = 64 * 1024
_WHOLE: Final = frozenset({200, 204})

_ERRORS_BY_STATUS: Final[Mapping[int, type[PrefetchError]]] = {
    401: AccessDeniedError,
    402: OriginThrottledError,  # HealthImaging: ServiceQuotaExceededException
    403: AccessDeniedError,
    404: StudyNotFoundError,
    406: StudyNotFoundError,  # HealthImaging: a frame that cannot be given by itself
    407: AccessDeniedError,
    408: OriginUnavailableError,
    409: OriginUnavailableError,  # HealthImaging: ConflictException, still being imported
    410: StudyNotFoundError,
    425: OriginUnavailableError,
    429: OriginThrottledError,
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A GET, or a POST of `body`; the address and the headers are never repeated in an error.

    `what` is the thing that is read, for errors, and `max_bytes` the longest body to take. A frame
    `is_paced`: how long it takes says how many are worth asking for at once.
    """

    url: str
    what: str
    max_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_paced: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer read to its end; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Refusal = Callable[[HttpAnswer, str], PrefetchError]
"""What an answer with another status than 200 and 204 means; its body may be left out."""


class Fetcher(Protocol):
    """Sends one request at a time for each thread, over connections that are kept."""

    def fetch(self, request: HttpRequest, *, refusal: Refusal) -> HttpAnswer:
        """The answer, with status 200 or 204 and its body as sent, not decoded.

        Raises:
            PrefetchError: `refusal`'s for any other status; OriginUnavailableError for no
                connection, a reset or a time-out; CorruptPayloadError for a body shorter than
                announced, or too long.
        """

    def make_ready(self, url: str, connections: int) -> None:
        """Open so many connections to an address aside, if that saves the next requests time."""

    def close(self) -> None:
        """Close the connections."""


def error_of_status(status: int, what: str) -> PrefetchError:
    """The error that a status means (RFC 9110 15).

    Redirects are not followed: an archive that sends one is in maintenance or behind a login.
    """
    said = f"{what}: status {status}"
    if status in _ERRORS_BY_STATUS:
        return _ERRORS_BY_STATUS[status](said)
    if 400 <= status < 500:
        return InvalidPayloadError(said)
    return OriginUnavailableError(said)


def by_status(answer: HttpAnswer, what: str) -> PrefetchError:
    """The error of an answer by its status alone."""
    return error_of_status(answer.status, what)


class HttpReader:
    """Requests over a pool of connections; safe to share between threads."""

    def __init__(
        self,
        *,
        connections: int,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 15.0,
        answer_timeout_s: float = 120.0,
    ) -> None:
        """Make the pool; nothing connects yet.

        Args:
            connections: how many are kept open; more are opened at need, and closed after use.
            connect_timeout_s: the longest wait for a connection.
            read_timeout_s: the longest silence of the other side.
            answer_timeout_s: the longest time for a whole body, however steadily it drips.
        """
        self._answer_timeout_s = answer_timeout_s
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=connections,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
        )

    def fetch(self, request: HttpRequest, *, refusal: Refusal) -> HttpAnswer:
        """As `Fetcher.fetch`."""
        what = request.what
        try:
            response = self._open(request)
            try:
                return self._answer(response, request, refusal)
            finally:
                # Read to its end, its connection is back in the pool already; else it is dropped.
                response.close()
                response.release_conn()
        except InvalidChunkLength as error:
            raise CorruptPayloadError(f"{what}: body is not chunked as announced") from error
        except HTTPError as error:
            if isinstance(error.__cause__, IncompleteRead):
                raise CorruptPayloadError(f"{what}: body shorter than announced") from error
            raise OriginUnavailableError(f"{what}: {type(error).__name__}") from error

    def make_ready(self, url: str, connections: int) -> None:
        """Nothing: functions and tools ask for little, and open connections as they need them."""

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _open(self, request: HttpRequest) -> urllib3.BaseHTTPResponse:
        try:
            return self._request(request)
        except ProtocolError:
            # A kept connection that the other side had closed meanwhile: Orthanc does after 1 s.
            return self._request(request)

    def _request(self, request: HttpRequest) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            "GET" if request.body is None else "POST",
            request.url,
            headers=request.headers,
            body=request.body,
            redirect=False,
            preload_content=False,
        )

    def _answer(
        self, response: urllib3.BaseHTTPResponse, request: HttpRequest, refusal: Refusal
    ) -> HttpAnswer:
        names = {name.lower(): value for name, value in response.headers.items()}
        if response.status not in _WHOLE:
            content = b""
            if (response.length_remaining or _WORTH_READING_BYTES) < _WORTH_READING_BYTES:
                content = self._body(response, _WORTH_READING_BYTES, request.what)
            raise refusal(HttpAnswer(response.status, names, content), request.what)
        content = self._body(response, request.max_bytes, request.what)
        return HttpAnswer(response.status, names, content)

    def _body(self, response: urllib3.BaseHTTPResponse, max_bytes: int, what: str) -> bytes:
        if (response.length_remaining or 0) > max_bytes:
            raise CorruptPayloadError(f"{what}: body too long")
        give_up_at = time.monotonic() + self._answer_timeout_s
        pieces: list[bytes] = []
        left = max_bytes
        # `read1` answers with what is there; `read` would wait, however long, for a whole piece.
        while piece := response.read1(_PIECE_BYTES, decode_content=False):
            left -= len(piece)
            if left < 0:
                raise CorruptPayloadError(f"{what}: body too long")
            if time.monotonic() > give_up_at:
                raise OriginUnavailableError(f"{what}: body too slow")
            pieces.append(piece)
        return b"".join(pieces)
