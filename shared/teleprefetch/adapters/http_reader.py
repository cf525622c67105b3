"""Reads over HTTP that end: no redirects, and limits on time and size; errors in our words."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import Final

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
class HttpAnswer:
    """An answer with status 200 or 204, read to its end; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


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


class HttpReader:
    """GETs over a pool of connections; safe to share between threads."""

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

    def get(self, url: str, *, headers: Mapping[str, str], max_bytes: int, what: str) -> HttpAnswer:
        """The answer with its body as sent, not decoded.

        Args:
            url: the address; never repeated in an error.
            headers: what to send.
            max_bytes: the longest body to take.
            what: the thing that is read, for errors.

        Raises:
            PrefetchError: by `error_of_status`; OriginUnavailableError for no connection, a reset
                or a time-out; CorruptPayloadError for a body shorter than announced, or too long.
        """
        try:
            response = self._open(url, headers)
            try:
                return self._answer(response, max_bytes, what)
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

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _open(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._request(url, headers)
        except ProtocolError:
            # A kept connection that the other side had closed meanwhile: Orthanc does after 1 s.
            return self._request(url, headers)

    def _request(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            "GET", url, headers=headers, redirect=False, preload_content=False
        )

    def _answer(self, response: urllib3.BaseHTTPResponse, max_bytes: int, what: str) -> HttpAnswer:
        if response.status not in {200, 204}:
            if (response.length_remaining or _WORTH_READING_BYTES) < _WORTH_READING_BYTES:
                self._body(response, _WORTH_READING_BYTES, what)
            raise error_of_status(response.status, what)
        content = self._body(response, max_bytes, what)
        names = {name.lower(): value for name, value in response.headers.items()}
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
