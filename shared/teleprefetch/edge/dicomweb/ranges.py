"""Conditions and ranges of a request (RFC 9110 13, 14), for answers that have an entity tag."""

import re
from dataclasses import replace
from typing import Final

from teleprefetch.edge.dicomweb.messages import FileSlice, Request, Response, refusal

_MOST_RANGES: Final = 8
_RANGE: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")
_TAG: Final = re.compile(r'\s*(?:W/)?("[^"]*")\s*(?:,|$)')
# What a 304 repeats of the answer that it stands for (RFC 9110 15.4.5).
_KEPT: Final = frozenset({"Cache-Control", "Content-Location", "ETag", "Expires", "Vary"})


def is_known(request: Request, etag: str) -> bool:
    """Tell whether the client holds this already, by If-None-Match (RFC 9110 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return bool(etag) and (given.strip() == "*" or etag in _TAG.findall(given))


def not_modified(response: Response) -> Response:
    """The answer to a client that holds `response` already."""
    headers = tuple(pair for pair in response.headers if pair[0] in _KEPT)
    return Response(304, headers, kind=response.kind, shown=response.shown)


def cut_to_range(request: Request, response: Response) -> Response:
    """The part of a whole answer that the client asks for: one piece of a file.

    Of several ranges none is sent: that is allowed, and the whole is (RFC 9110 14.2). A great
    number of them is an attack, and refused (15.5.17).
    """
    asked = request.headers.get("range", "")
    (part,) = response.body
    if (
        not asked
        or not asked.lower().startswith("bytes=")
        or not _holds_if_range(request, response)
    ):
        return response
    ranges = asked[len("bytes=") :].split(",")
    length = response.content_length
    unsatisfiable = refusal(
        416, "range: none that can be sent", ("Content-Range", f"bytes */{length}")
    )
    if len(ranges) > _MOST_RANGES:
        return unsatisfiable
    bounds = [_bounds(one.strip(), length) for one in ranges]
    if not any(bounds):
        return unsatisfiable
    if len(bounds) > 1 or bounds[0] is None:
        return response
    first, last = bounds[0]
    stated = ("Content-Range", f"bytes {first}-{last}/{length}")
    piece: bytes | FileSlice
    if isinstance(part, bytes):
        piece = part[first : last + 1]
    else:
        piece = FileSlice(part.path, part.offset + first, last + 1 - first)
    return replace(response, status=206, headers=(*response.headers, stated), body=(piece,))


def _holds_if_range(request: Request, response: Response) -> bool:
    condition = request.headers.get("if-range")
    return condition is None or condition == response.etag


def _bounds(text: str, length: int) -> tuple[int, int] | None:
    """The first and last byte of one range, or None if it is malformed or beyond the end."""
    found = _RANGE.fullmatch(text)
    if found is None or text == "-":
        return None
    first, last = found.groups()
    if not first:
        count = min(int(last), length)
        return (length - count, length - 1) if count else None
    if int(first) >= length or (last and int(last) < int(first)):
        return None
    return int(first), min(int(last), length - 1) if last else length - 1
