"""Checks an authorization request: code flow with PKCE, and nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from teleprefetch.local.login.oauth import Client, OAuthError, Parameters

AUDIENCE: Final = "urn:teleprefetch:dicomweb"
READ: Final = "dicomweb.read"
OFFLINE: Final = "offline_access"
SCOPES: Final = ("openid", "profile", OFFLINE, READ)
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What a client asks a person to agree to; `code_challenge` is of S256 (RFC 7636 4.2)."""

    client: Client
    redirect_uri: str
    state: str
    nonce: str
    scopes: frozenset[str]
    code_challenge: str


class CannotRedirectError(Exception):
    """The client or its address is not known: nobody may be sent there (RFC 6749 4.1.2.1)."""


class RedirectedError(Exception):
    """An error that the client is told by way of its redirect address."""

    def __init__(self, redirect_uri: str, state: str, error: OAuthError) -> None:
        super().__init__(error.description)
        self.redirect_uri = redirect_uri
        self.state = state
        self.error = error


def read_request(given: Parameters, clients: Mapping[str, Client]) -> AuthorizationRequest:
    """The request, if all of it is as it must be.

    Raises:
        CannotRedirectError: the client is not known, or the redirect address not its own.
        RedirectedError: anything else is wrong.
    """
    client = clients.get(given.only("client_id"))
    redirect_uri = given.only("redirect_uri")
    if client is None:
        raise CannotRedirectError("client_id: not known here")
    if redirect_uri not in client.redirect_uris:
        raise CannotRedirectError("redirect_uri: not one of this client's")
    try:
        return _checked(given, client, redirect_uri)
    except OAuthError as error:
        raise RedirectedError(redirect_uri, given.only("state"), error) from error


def redirect_to(uri: str, **parameters: str) -> str:
    """A registered address with parameters; those that are empty are left out."""
    told = urlencode({name: value for name, value in parameters.items() if value})
    return f"{uri}{'&' if '?' in uri else '?'}{told}"


def _checked(given: Parameters, client: Client, redirect_uri: str) -> AuthorizationRequest:
    given.check_once()
    if given.get("request"):
        raise OAuthError("request_not_supported", "request: not supported")
    if given.get("request_uri"):
        raise OAuthError("request_uri_not_supported", "request_uri: not supported")
    if given.need("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type: code alone")
    if given.get("response_mode") not in {"", "query"}:
        raise OAuthError("invalid_request", "response_mode: query alone")
    state = given.need("state")
    if given.get("resource") not in {"", AUDIENCE}:
        raise OAuthError("invalid_target", "resource: not known here")
    scopes = _scopes(given.get("scope"))
    challenge = _challenge(given)
    if given.get("prompt") == "none":  # nobody stays logged in here
        raise OAuthError("login_required", "prompt: nobody is logged in")
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        state=state,
        nonce=given.get("nonce"),
        scopes=scopes,
        code_challenge=challenge,
    )


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(text.split(" ")) - {""}
    if "openid" not in scopes or not scopes <= set(SCOPES):
        raise OAuthError("invalid_scope", f"scope: openid, and others of {', '.join(SCOPES)}")
    return scopes


def _challenge(given: Parameters) -> str:
    # RFC 7636 4.3: without a method, `plain` would be meant
    if given.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "code_challenge_method: S256 alone")
    challenge = given.need("code_challenge")
    if not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "code_challenge: no SHA-256 in base64url")
    return challenge
