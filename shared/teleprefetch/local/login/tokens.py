"""Signs what the local issuer says: access tokens (RFC 9068) and ID tokens (OIDC Core 2)."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from teleprefetch.local.login.authorizing import AUDIENCE
from teleprefetch.local.login.grants import Grant
from teleprefetch.local.login.oauth import OAuthError
from teleprefetch.local.login.people import Person

TOKEN_S: Final = 600
_ALGORITHM: Final = "RS256"
_KEY_BITS: Final = 2048
_ACCESS, _ID = "at+jwt", "JWT"


class TokenSigner:
    """Holds the issuer's key, which is made anew at each start and is written nowhere.

    Args:
        issuer: the issuer's address, as tokens name it.
        clock: seconds since 1970.
    """

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._clock = clock
        made = RSAKey.generate_key(_KEY_BITS, private=True, auto_kid=True)
        self._key_id = str(made.kid)
        self._key = made

    def public_keys(self) -> dict[str, Any]:
        """The JSON Web Key Set that tokens are verified with."""
        public = self._key.as_dict(private=False)
        return {"keys": [public | {"use": "sig", "alg": _ALGORITHM, "kid": self._key_id}]}

    def access_token(
        self, person: Person, *, client_id: str, scopes: Iterable[str], lifetime_s: int
    ) -> str:
        """A token that says to the node who asks (RFC 9068 2.2)."""
        now_s = int(self._clock())
        return self._sign(
            _ACCESS,
            {
                "iss": self._issuer,
                "sub": person.subject,
                "aud": AUDIENCE,
                "client_id": client_id,
                "scope": " ".join(sorted(scopes)),
                "groups": list(person.groups),
                "site": person.site,
                "jti": str(uuid.uuid4()),
                "iat": now_s,
                "exp": now_s + lifetime_s,
            },
        )

    def id_token(self, grant: Grant) -> str:
        """A token that says to the client who logged in (OIDC Core 2, 3.1.3.6)."""
        now_s = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": grant.person.subject,
            "aud": grant.request.client.client_id,
            "auth_time": int(grant.logged_in_s),
            "iat": now_s,
            "exp": now_s + TOKEN_S,
        }
        if grant.request.nonce:
            claims["nonce"] = grant.request.nonce
        if "profile" in grant.request.scopes:
            claims["name"] = grant.person.name
        return self._sign(_ID, claims)

    def read_access(self, token: str) -> dict[str, Any]:
        """The claims of an access token of ours that has not ended.

        Raises:
            OAuthError: invalid_token.
        """
        claims = self._read(token, _ACCESS)
        if claims["exp"] <= self._clock():
            raise OAuthError("invalid_token", "access token: expired")
        return claims

    def read_id(self, token: str) -> dict[str, Any]:
        """The claims of an ID token of ours, ended or not (OIDC RP-Initiated Logout 1.0, 2).

        Raises:
            OAuthError: invalid_token.
        """
        return self._read(token, _ID)

    def _sign(self, kind: str, claims: dict[str, Any]) -> str:
        header = {"alg": _ALGORITHM, "typ": kind, "kid": self._key_id}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    def _read(self, token: str, kind: str) -> dict[str, Any]:
        try:
            read = jwt.decode(token, self._key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError) as error:
            raise OAuthError("invalid_token", "token: not one of this issuer's") from error
        if read.header.get("typ") != kind:
            raise OAuthError("invalid_token", "token: of another kind")
        return dict(read.claims)
