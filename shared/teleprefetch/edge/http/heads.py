"""Reads the head of one HTTP/1.1 request (RFC 9112), strictly: whatever is odd is refused.

httptools reads it, and refuses bare line feeds, folded lines and zero bytes; what it lets through,
and a proxy may read otherwise, is refused here: that is what request smuggling lives on. Requests
have no body here, so that a head is a request.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import httptools

from teleprefetch.edge.dicomweb.messages import Request

MOST_HEAD_BYTES: Final = 16 * 1024
_MOST_HEADERS: Final = 100
_MOST_QUERY_FIELDS: Final = 100
# One of each at most: two of them may be read as one by a proxy and as the other here.
_SINGLE: Final = frozenset({"host", "authorization", "content-length", "range", "if-range"})
_HOST: Final = re.compile(
    r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_ANY_LINE: Final = re.compile(rb"[A-Z]{1,20} [!-~]+ HTTP/[0-9]\.[0-9]\r\n")
_TARGET: Final = re.compile(rb"[!-\"$-~]+")


class BadRequestError(Exception):
    """A head that is refused, and the connection with it; `status` says how."""

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head: its target as sent, the names of headers in lower case."""

    method: str
    target: bytes
    headers: Mapping[str, str]
    keeps_alive: bool

    def request(self, *, client: str, scheme: str) -> Request:
        """The request.

        Raises:
            BadRequestError: the query has too many fields.
        """
        path, _, query = self.target.decode("ascii").partition("?")
        try:
            fields = parse_qsl(query, max_num_fields=_MOST_QUERY_FIELDS) if query else ()
        except ValueError:
            raise BadRequestError("query: too many fields") from None
        return Request(self.method, path, tuple(fields), self.headers, client, scheme)


class _Collector:
    """What httptools reports of a head."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def read_head(raw: bytes) -> Head:
    """The head in `raw`, which ends with the empty line.

    Raises:
        BadRequestError: it is malformed, ambiguous, has a body, or is not for this server.
    """
    if _ANY_LINE.match(raw) is None:
        raise BadRequestError("request: its first line is malformed")
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an upgrade that is not made is a request like any other (RFC 9110 7.8)
    except httptools.HttpParserError:
        raise BadRequestError("request: malformed") from None
    version = parser.get_http_version()
    if version not in {"1.1", "1.0"}:
        raise BadRequestError("request: not HTTP/1.1", status=505)
    headers = _headers(collector.fields)
    target, host = _target(collector.target, headers.get("host", ""))
    if _HOST.fullmatch(host) is None:
        raise BadRequestError("host: missing or malformed")
    headers["host"] = host
    return Head(parser.get_method().decode(), target, headers, _keeps_alive(version, headers))


def _headers(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    if len(fields) > _MOST_HEADERS:
        raise BadRequestError("request: too many headers", status=431)
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            raise BadRequestError(f"{name}: given twice")
        else:
            headers[name] = f"{headers[name]}, {value}"
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadRequestError("request: has a body")
    return headers


def _target(target: bytes, host: str) -> tuple[bytes, str]:
    """Split a target in absolute form; its authority goes before Host (RFC 9112 3.2.2)."""
    if _TARGET.fullmatch(target) is None:
        raise BadRequestError("request: its target is malformed")
    if target.startswith(b"/") or target == b"*":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not host:
        raise BadRequestError("request: its target is malformed")
    authority, rest = absolute.groups()
    return rest if rest.startswith(b"/") else b"/" + rest, authority.decode("ascii")


def _keeps_alive(version: str, headers: Mapping[str, str]) -> bool:
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return version == "1.1" and "close" not in options
