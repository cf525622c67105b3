"""Why a token is refused: one reason for each rule, fit for logs and for the audit."""

from enum import StrEnum
from typing import Final

from teleprefetch.errors import AccessDeniedError


class Reason(StrEnum):
    """The rule that a token breaks; the values hold nothing of the token."""

    TOO_LONG = "too long"
    NOT_A_JWS = "not a signed token in compact form"
    ENCRYPTED = "encrypted"
    UNSIGNED = "unsigned"
    ENCODING = "not canonical base64url"
    JSON = "not JSON"
    DUPLICATE_MEMBER = "a member twice"
    HEADER_MEMBER = "a header member that is not allowed"
    ALGORITHM = "algorithm not allowed"
    TYPE = "another kind of token"
    KEY_ID = "kid not a short string"
    ISSUER = "issuer not known"
    UNKNOWN_KEY = "key not known"
    KEYS_UNAVAILABLE = "keys not available"
    KEY_ALGORITHM = "algorithm is not the key's"
    SIGNATURE = "signature wrong"
    EXPIRY = "exp missing or not a time"
    EXPIRED = "expired"
    ISSUED_AT = "iat missing or not a time"
    ISSUED_LATER = "issued in the future"
    TOO_OLD = "issued too long ago"
    NOT_BEFORE = "nbf not a time"
    NOT_YET = "not valid yet"
    LIFETIME = "lives too long"
    SUBJECT = "sub missing or not a name"
    AUDIENCE = "for another audience"
    CLIENT = "from another client"
    TOKEN_USE = "for another use"  # noqa: S105 - a reason
    SCOPE = "scope missing"
    CLAIM = "a claim of the wrong kind"


PASSING: Final = frozenset(
    {Reason.UNKNOWN_KEY, Reason.KEYS_UNAVAILABLE, Reason.ISSUED_LATER, Reason.NOT_YET}
)
"""Reasons that time alone may heal; a refusal for one of them is never remembered."""


class TokenRefusedError(AccessDeniedError):
    """A token breaks a rule; the message is the reason and nothing of the token."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"token: {reason.value}")
        self.reason = reason
