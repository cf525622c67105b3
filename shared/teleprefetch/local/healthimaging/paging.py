"""Pages of native answers: maxResults and nextToken."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from teleprefetch.local.healthimaging.wire import (
    Request,
    Response,
    ServiceError,
    json_response,
)

Item = TypeVar("Item")
_LARGEST: Final = 50


def page_of(
    items: Sequence[Item], request: Request, *, query: Any
) -> tuple[list[Item], str | None]:
    """One page of results and the token of the next.

    Args:
        items: all results.
        request: has maxResults (1 to 50) and nextToken.
        query: what was asked; a token only goes on with the same.

    Raises:
        ServiceError: ValidationException.
    """
    size = _size(request.parameter("maxResults"))
    token = request.parameter("nextToken")
    digest = hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()[:16]
    start = 0 if token is None else _offset_of(token, digest)
    end = start + size
    following = None
    if end < len(items):
        following = base64.urlsafe_b64encode(f"{digest}:{end}".encode()).decode()
    return list(items[start:end]), following


def paged_response(
    name: str, rows: list[dict[str, Any]], token: str | None, **more: dict[str, str]
) -> Response:
    """An answer with one page of rows."""
    following = {} if token is None else {"nextToken": token}
    return json_response({name: rows, **following, **more})


def _size(text: str | None) -> int:
    if text is None:
        return _LARGEST
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= _LARGEST:
        raise ServiceError("ValidationException", f"maxResults is not between 1 and {_LARGEST}")
    return int(text)


def _offset_of(token: str, digest: str) -> int:
    try:
        found, _, offset = base64.urlsafe_b64decode(token).decode().partition(":")
        if found == digest:
            return int(offset)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise ServiceError("ValidationException", "nextToken is invalid") from error
    raise ServiceError("ValidationException", "nextToken belongs to another request")
