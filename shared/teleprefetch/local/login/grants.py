"""Codes and refresh tokens: given once, for a time, and ended together if one comes twice."""

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from teleprefetch.local.login.authorizing import OFFLINE, AuthorizationRequest
from teleprefetch.local.login.oauth import OAuthError
from teleprefetch.local.login.people import Person

CODE_S: Final = 60.0
LOGIN_S: Final = 600.0
REFRESH_S: Final = 12 * 3600.0
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a person agreed to; `logged_in_s` is when, in seconds since 1970."""

    person: Person
    request: AuthorizationRequest
    logged_in_s: float


@dataclass(frozen=True, slots=True)
class _Held:
    grant: Grant
    family: str
    until_s: float


class Grants:
    """Everything that is granted and not yet spent; its calls may come from any thread.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logins: dict[str, tuple[AuthorizationRequest, float]] = {}
        self._codes: dict[str, _Held] = {}
        self._refresh: dict[str, _Held] = {}
        self._spent: dict[str, str] = {}

    def begin(self, request: AuthorizationRequest) -> str:
        """Keep a request while somebody logs in; its name, for the login page alone."""
        now_s = self._clock()
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._logins = {key: kept for key, kept in self._logins.items() if kept[1] > now_s}
            self._logins[name] = (request, now_s + LOGIN_S)
        return name

    def login(self, name: str) -> AuthorizationRequest | None:
        """The request of a login page, once, and not after ten minutes."""
        with self._lock:
            request, until_s = self._logins.pop(name, (None, 0.0))
        return request if until_s > self._clock() else None

    def code(self, request: AuthorizationRequest, person: Person) -> str:
        """A code for what a person agreed to; it lives a minute (RFC 6749 4.1.2: at most ten)."""
        now_s = self._clock()
        grant = Grant(person=person, request=request, logged_in_s=now_s)
        held = _Held(grant, secrets.token_urlsafe(16), now_s + CODE_S)
        with self._lock:
            return _put(self._codes, held)

    def redeem(
        self, code: str, *, client_id: str, redirect_uri: str, verifier: str
    ) -> tuple[Grant, str]:
        """What a code stands for, and a refresh token if one was asked for.

        A code is spent by the first who shows it, right or wrong.

        Raises:
            OAuthError: invalid_grant, for any reason of RFC 6749 5.2 or RFC 7636 4.6.
        """
        with self._lock:
            held = self._take(self._codes, code, "code")
            request = held.grant.request
            if request.client.client_id != client_id:
                raise OAuthError("invalid_grant", "code: of another client")
            if request.redirect_uri != redirect_uri:
                raise OAuthError("invalid_grant", "redirect_uri: not the one of the code")
            if not _is_verified(verifier, request.code_challenge):
                raise OAuthError("invalid_grant", "code_verifier: not the one of the code")
            return held.grant, self._next(held)

    def refresh(self, token: str, *, client_id: str) -> tuple[Grant, str]:
        """What a refresh token stands for, and the one that takes its place (RFC 9700 2.2.2).

        Raises:
            OAuthError: invalid_grant.
        """
        with self._lock:
            held = self._take(self._refresh, token, "refresh_token")
            if held.grant.request.client.client_id != client_id:
                raise OAuthError("invalid_grant", "refresh_token: of another client")
            return held.grant, self._next(held)

    def end(self, subject: str, client_id: str) -> None:
        """Forget all that a person granted to a client."""
        with self._lock:
            for shelf in (self._codes, self._refresh):
                for name, held in tuple(shelf.items()):
                    is_theirs = held.grant.person.subject == subject
                    if is_theirs and held.grant.request.client.client_id == client_id:
                        del shelf[name]

    def _take(self, shelf: dict[str, _Held], name: str, kind: str) -> _Held:
        digest = _digest(name)
        if family := self._spent.get(digest):
            # somebody else has it too: nothing that came of it is good any more (RFC 6749 4.1.2)
            self._end_family(family)
            raise OAuthError("invalid_grant", f"{kind}: used before")
        held = shelf.pop(digest, None)
        if held is None:
            raise OAuthError("invalid_grant", f"{kind}: not known here")
        self._spent[digest] = held.family
        if held.until_s <= self._clock():
            raise OAuthError("invalid_grant", f"{kind}: expired")
        return held

    def _next(self, held: _Held) -> str:
        if OFFLINE not in held.grant.request.scopes:
            return ""
        until_s = held.grant.logged_in_s + REFRESH_S
        return _put(self._refresh, _Held(held.grant, held.family, until_s))

    def _end_family(self, family: str) -> None:
        for name in [name for name, held in self._refresh.items() if held.family == family]:
            del self._refresh[name]


def _put(shelf: dict[str, _Held], held: _Held) -> str:
    name = secrets.token_urlsafe(32)
    shelf[_digest(name)] = held
    return name


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _is_verified(verifier: str, challenge: str) -> bool:
    """Whether BASE64URL(SHA256(verifier)) is the challenge (RFC 7636 4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)
