"""Which web pages' origins may read answers: CORS (Fetch standard, "CORS protocol").

Readers are known by a bearer token that the page's own code sends, never by a cookie. So no answer
allows credentials, and an origin is allowed by its exact name or not at all.
"""

from collections.abc import Collection, Mapping
from typing import Final

_VARY: Final = b"Vary: Origin\r\n"
_READABLE: Final = (
    b"Access-Control-Expose-Headers: Content-Range, Retry-After, WWW-Authenticate\r\n"
)
# Accept is among them: `multipart/related; type="..."` has bytes that are not safelisted.
_MAY_BE_SENT: Final = (
    b"Access-Control-Allow-Methods: GET, HEAD\r\n"
    b"Access-Control-Allow-Headers: Accept, Authorization, If-None-Match, If-Range, Range,"
    b" X-Break-Glass, X-Request-Id\r\n"
    b"Access-Control-Max-Age: 7200\r\n"
)


class WebOrigins:
    """Makes the headers that let pages of other origins read an answer.

    Args:
        allowed: origins as browsers write them, such as `https://viewer.example.org`; none: pages
            of other origins read nothing, and no answer says anything of it.
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._allowed = {
            origin: b"".join(
                (b"Access-Control-Allow-Origin: ", origin.encode("ascii"), b"\r\n", _VARY)
            )
            for origin in allowed
        }

    def headers_of(self, method: str, headers: Mapping[str, str]) -> bytes:
        """Further header lines for the answer to a request, each with its end.

        Args:
            method: the request's.
            headers: the request's, their names in lower case.
        """
        if not self._allowed:
            return b""
        allows = self._allowed.get(headers.get("origin", ""))
        if allows is None:
            return _VARY
        is_preflight = method == "OPTIONS" and "access-control-request-method" in headers
        return allows + (_MAY_BE_SENT if is_preflight else _READABLE)
