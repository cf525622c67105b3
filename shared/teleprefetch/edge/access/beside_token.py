"""What a request says beside its token: where a token must not be, an emergency, a name."""

import re
from collections.abc import Mapping
from typing import Final

from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.errors import AccessDeniedError, InvalidPayloadError

# RFC 6750 2.3, and what else tokens are called where they must not be.
_NEVER_ASKED: Final = frozenset({"access_token", "id_token", "token", "bearer", "authorization"})
_MOST_REASON: Final = 200
_REQUEST_ID: Final = re.compile(r"[\w.\-]{1,64}", re.ASCII)


def check_query(request: Request) -> None:
    """Return if the address holds no token, whoever else sends one: addresses are written down.

    Raises:
        AccessDeniedError: it does.
    """
    for name, value in request.query:
        is_jwt = value.startswith("eyJ") and value.count(".") >= 2
        if is_jwt or name.lower() in _NEVER_ASKED:
            raise AccessDeniedError("token in the address")


def emergency_of(headers: Mapping[str, str]) -> str:
    """The reason that the reader gave for an emergency, or nothing.

    Raises:
        InvalidPayloadError: it is too long, or not plain text.
    """
    given = headers.get("x-break-glass", "")
    if not given:
        return ""
    try:
        text = given.encode("latin-1").decode()
    except UnicodeDecodeError:
        text = given
    if len(text) > _MOST_REASON or not text.isprintable():
        raise InvalidPayloadError("x-break-glass: not up to 200 printable characters")
    return text.strip()


def request_id_of(headers: Mapping[str, str]) -> str:
    """What the client calls the request, if that is a plain name; else nothing."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else ""
