"""Small texts that a browser keeps for the console and cannot change."""

import base64
import binascii
import hmac
import json
import secrets
from pathlib import Path
from typing import Any, Final

from teleprefetch.errors import InvalidPayloadError

_LEAST_KEY_BYTES: Final = 32
_MOST_TEXT: Final = 4096  # of a cookie (RFC 6265 6.1)


class Seal:
    """Signs texts with HMAC-SHA256; one of one purpose never passes for another's."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def closed(self, purpose: str, document: dict[str, Any], *, ends_at_s: float) -> str:
        """The document, readable by anybody and signed, until a time in seconds since 1970."""
        body = _text(json.dumps(document | {"ends_at_s": ends_at_s}).encode())
        return f"{body}.{self.digest(purpose, body)}"

    def opened(self, purpose: str, text: str, *, now_s: float) -> dict[str, Any] | None:
        """What was closed for that purpose; None if it is another's, was changed, or is over."""
        body, _, signature = text.partition(".")
        if len(text) > _MOST_TEXT or not text.isascii():
            return None
        if not hmac.compare_digest(signature, self.digest(purpose, body)):
            return None
        document = json.loads(_bytes(body))
        return document if now_s < document.pop("ends_at_s") else None

    def digest(self, purpose: str, text: str) -> str:
        """The signature of a text for a purpose, which nobody else can make."""
        return _text(hmac.digest(self._key, f"{purpose}\x1f{text}".encode(), "sha256"))


def key_of(path: str) -> bytes:
    """The key in a file, or one that is made now where no file is named.

    Raises:
        InvalidPayloadError: it cannot be read, or is short.
    """
    if not path:
        return secrets.token_bytes(_LEAST_KEY_BYTES)
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise InvalidPayloadError("CONSOLE_KEY_PATH: cannot be read") from error
    if len(key) < _LEAST_KEY_BYTES:
        raise InvalidPayloadError(f"CONSOLE_KEY_PATH: fewer than {_LEAST_KEY_BYTES} bytes")
    return key


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:  # signed by us, so never
        raise InvalidPayloadError("cookie: not base64url") from error
