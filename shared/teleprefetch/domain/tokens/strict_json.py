"""JSON without the liberties that parsers take: no member twice, no NaN, UTF-8 alone."""

import binascii
import json
import re
from typing import Any, Final, Never

from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError


class _DuplicateMemberError(ValueError):
    """An object names a member twice (RFC 8259 4 leaves open which one counts)."""


def decode_segment(segment: str) -> bytes:
    """The bytes of a base64url segment without padding (RFC 7515 2).

    Raises:
        TokenRefusedError: it is not the one encoding of its bytes, such as with unused bits set.
    """
    padded = segment.encode("ascii", "replace") + b"=" * (-len(segment) % 4)
    try:
        decoded = binascii.a2b_base64(padded.translate(_FROM_URL), strict_mode=True)
    except binascii.Error as error:
        raise TokenRefusedError(Reason.ENCODING) from error
    if binascii.b2a_base64(decoded, newline=False).translate(_TO_URL) != padded:
        raise TokenRefusedError(Reason.ENCODING)
    return decoded


def read_object(text: bytes) -> dict[str, Any]:
    """The object that a JSON text is.

    Raises:
        TokenRefusedError: it is not JSON in UTF-8, not an object, nested too deep, or any object
            in it names a member twice.
    """
    try:
        characters = text.decode("utf-8")
        if _is_deep(characters):
            raise TokenRefusedError(Reason.JSON)
        value = _DECODER.decode(characters)
    except _DuplicateMemberError as error:
        raise TokenRefusedError(Reason.DUPLICATE_MEMBER) from error
    except ValueError as error:
        raise TokenRefusedError(Reason.JSON) from error
    if not isinstance(value, dict):
        raise TokenRefusedError(Reason.JSON)
    return value


def _is_deep(characters: str) -> bool:
    """Whether it nests deeper than anybody needs; how deep a parser goes differs by version."""
    if characters.count("[") + characters.count("{") <= _MOST_DEPTH:
        return False
    depth = 0
    for character in _STRING.sub("", characters):
        if character in "[{":
            depth += 1
            if depth > _MOST_DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateMemberError
    return found


def _no_constant(_name: str) -> Never:
    raise ValueError("NaN and Infinity are not JSON (RFC 8259 6)")


_MOST_DEPTH: Final = 64
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FROM_URL: Final = bytes.maketrans(b"-_+/", b"+/!!")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
