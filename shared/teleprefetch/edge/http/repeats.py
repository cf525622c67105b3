"""Requests that differ from the last one of a connection in their target alone.

Of such a request only the first line is new, and a target that is remembered was read with all
care before.
"""

from collections.abc import Mapping
from typing import Final

from teleprefetch.edge.access.entries import Visitor
from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.http.heads import Head
from teleprefetch.edge.http.remembered import Rest, rest_of

_GET: Final = b"GET "
_VERSION: Final = b" HTTP/1.1"
_NO_BLOCK: Final = b"\0"  # no head ends so


class Repeats:
    """The headers of a connection's last request, and who sent it."""

    __slots__ = ("_block", "client", "headers", "rest", "visitor")

    def __init__(self) -> None:
        self._block = _NO_BLOCK
        self.client = ""
        self.headers: Mapping[str, str] = {}
        self.rest: Rest | None = None
        self.visitor: Visitor | None = None

    def learn(self, raw: bytes, head: Head, request: Request) -> None:
        """Take in a request, unless it is an odd one."""
        line_end = raw.find(b"\r\n")
        if not head.keeps_alive or raw[:line_end] != _GET + head.target + _VERSION:
            return
        if raw[line_end:] == self._block:
            return
        rest = rest_of(request)
        if rest is None or "x-request-id" in head.headers:  # each is another's
            self._block = _NO_BLOCK
            return
        self._block, self.headers, self.rest = raw[line_end:], head.headers, rest
        self.client, self.visitor = request.client, None

    def target_of(self, data: bytes) -> bytes | None:
        """The target of a whole request with those headers; None if it is not one."""
        if not data.endswith(self._block) or not data.startswith(b"GET /"):
            return None
        end = len(data) - len(self._block)
        if data.find(b"\r\n") != end or data[end - len(_VERSION) : end] != _VERSION:
            return None
        return data[len(_GET) : end - len(_VERSION)]
