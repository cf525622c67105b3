"""The pre-filter: what a token must look like before a signature is computed for it."""

import re
from dataclasses import dataclass
from typing import Any, Final

from teleprefetch.domain.tokens.issuers import ALGORITHMS
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.domain.tokens.strict_json import decode_segment, read_object

MOST_CHARACTERS: Final = 8192
"""A token's longest length: what a server takes as one header."""
_MOST_KEY_ID: Final = 256
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_UNSIGNED: Final = re.compile(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.?", re.ASCII)
_ENCRYPTED: Final = re.compile(r"(?:[A-Za-z0-9_-]*\.){4}[A-Za-z0-9_-]*", re.ASCII)
_MEMBERS: Final = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token's words, before anybody knows that they are true."""

    token: str
    algorithm: str
    key_id: str | None
    type: str | None
    other_members: frozenset[str]
    claims: dict[str, Any]


def open_token(token: str) -> Unverified:
    """Take a token in compact form apart (RFC 7515 3.1, RFC 7519 3).

    Raises:
        TokenRefusedError: it is longer than MOST_CHARACTERS, not three canonical base64url
            segments of which two are JSON objects without duplicates, or of an algorithm that
            nobody may use.
    """
    if len(token) > MOST_CHARACTERS:
        raise TokenRefusedError(Reason.TOO_LONG)
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenRefusedError(_what_it_is_instead(token))
    header = read_object(decode_segment(parts[1]))
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise TokenRefusedError(Reason.ALGORITHM)
    decode_segment(parts[3])
    return Unverified(
        token=token,
        algorithm=algorithm,
        key_id=_key_id(header),
        type=_type(header),
        other_members=frozenset(header) - _MEMBERS,
        claims=read_object(decode_segment(parts[2])),
    )


def _what_it_is_instead(token: str) -> Reason:
    if _UNSIGNED.fullmatch(token) and "." in token:
        return Reason.UNSIGNED
    return Reason.ENCRYPTED if _ENCRYPTED.fullmatch(token) else Reason.NOT_A_JWS


def _key_id(header: dict[str, Any]) -> str | None:
    if "kid" not in header:
        return None
    key_id = header["kid"]
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MOST_KEY_ID:
        raise TokenRefusedError(Reason.KEY_ID)
    return key_id


def _type(header: dict[str, Any]) -> str | None:
    if "typ" not in header:
        return None
    kind = header["typ"]
    if not isinstance(kind, str):
        raise TokenRefusedError(Reason.TYPE)
    # RFC 7515 4.1.9: a media type, "application/" left out, in any case
    return kind.lower().removeprefix("application/")
