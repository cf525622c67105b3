"""Errors and parameters as OAuth 2.0 has them (RFC 6749 3.1, 4.1.2.1, 5.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

ErrorCode = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "unsupported_grant_type",
    "unsupported_response_type",
    "login_required",
    "request_not_supported",
    "request_uri_not_supported",
]
_UNAUTHORIZED: Final = frozenset({"invalid_client", "invalid_token"})


class OAuthError(Exception):
    """An error as a client sees it; it ends at the HTTP boundary and never leaves the issuer."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description

    @property
    def status(self) -> int:
        """401 where the client, or its token, is not who it says (RFC 6749 5.2, RFC 6750 3.1)."""
        return 401 if self.code in _UNAUTHORIZED else 400


@dataclass(frozen=True, slots=True)
class Client:
    """A public client; its addresses are compared letter by letter (RFC 9700 2.1)."""

    client_id: str
    redirect_uris: frozenset[str]
    after_logout_uris: frozenset[str]

    @property
    def origins(self) -> frozenset[str]:
        """Where its pages run, which may read the issuer's answers."""
        parts = map(urlsplit, self.redirect_uris)
        return frozenset(f"{each.scheme}://{each.netloc}" for each in parts)


class Parameters:
    """The parameters of one request, each of which may be there once (RFC 6749 3.1)."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._given: dict[str, str] = {}
        self._repeated: set[str] = set()
        for name, value in pairs:
            if name in self._given:
                self._repeated.add(name)
            self._given[name] = value

    def check_once(self) -> None:
        """Return if no parameter is there twice.

        Raises:
            OAuthError: invalid_request.
        """
        if self._repeated:
            raise OAuthError("invalid_request", f"{min(self._repeated)}: given twice")

    def get(self, name: str) -> str:
        """A parameter, or "": one without a value counts as left out (RFC 6749 3.1)."""
        return self._given.get(name, "")

    def only(self, name: str) -> str:
        """A parameter if it is there once, or ""."""
        return "" if name in self._repeated else self.get(name)

    def need(self, name: str) -> str:
        """A parameter that must be there.

        Raises:
            OAuthError: invalid_request.
        """
        if not (value := self.get(name)):
            raise OAuthError("invalid_request", f"{name}: missing")
        return value


def client_of(parameters: Parameters, clients: Mapping[str, Client]) -> Client:
    """The client that a request to the token endpoint names.

    Raises:
        OAuthError: invalid_client, if it is not known or tells a secret, which it has not.
    """
    client = clients.get(parameters.get("client_id"))
    if client is None or parameters.get("client_secret"):
        raise OAuthError("invalid_client", "client_id: not known, or not with a secret")
    return client
