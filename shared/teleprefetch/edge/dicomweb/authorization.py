"""The bearer token of a request (RFC 6750 2.1)."""

import re
from collections.abc import Mapping
from typing import Final

_BEARER: Final = re.compile(r"bearer +([\w\-.~+/]+=*)", re.IGNORECASE | re.ASCII)


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The token in the Authorization header; None if there is none, or not exactly one.

    A request with two such headers is refused before: its head is malformed.
    """
    found = _BEARER.fullmatch(headers.get("authorization", ""))
    return None if found is None else found[1]
