"""Logging in and out: the pages that anybody may ask for."""

import hmac
import logging
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from teleprefetch.console.asking import to
from teleprefetch.console.login import OpenIdClient
from teleprefetch.console.rendering import html
from teleprefetch.console.sessions import Attempt, Sessions
from teleprefetch.domain.policy.access import RoleGroups, roles_of
from teleprefetch.domain.tokens.decisions import Verdict
from teleprefetch.domain.tokens.refusal import Reason
from teleprefetch.errors import PrefetchError

_LOG: Final = logging.getLogger(__name__)
_LONGEST_NEXT: Final = 1500  # what a cookie holds beside the rest
_KEYS_WAIT_S: Final = 3.0


class Tokens(Protocol):
    """Tells whom a token is of; `Verifier` is one."""

    def verify(self, token: str, *, now_s: float, wait_s: float) -> Verdict:
        """The verdict on a token."""


class Entrance:
    """Lets operators in, and nobody else.

    Args:
        client: the console at the issuer.
        tokens: verify access tokens.
        role_groups: which groups are operators, as a node has it.
        sessions: what is begun and ended here.
        clock: seconds since 1970.
        sleep: waits for the issuer's keys.
    """

    def __init__(
        self,
        client: OpenIdClient,
        tokens: Tokens,
        *,
        role_groups: RoleGroups,
        sessions: Sessions,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._role_groups = role_groups
        self._sessions = sessions
        self._clock = clock
        self._sleep = sleep

    def login(self, request: Request) -> Response:
        """Send a browser to the issuer."""
        attempt = Attempt(
            state=secrets.token_urlsafe(24), next=local_path(request.query_params.get("next", ""))
        )
        try:
            url = self._client.authorization_url(
                attempt.state,
                self._sessions.verifier_of(attempt),
                is_again="again" in request.query_params,
            )
        except PrefetchError as error:
            return told(503, "Nobody can log in now", str(error), again=True)
        response = to(url)
        response.headers["Set-Cookie"] = self._sessions.attempt(attempt)
        return response

    def callback(self, request: Request) -> Response:
        """Take what a browser brings back from the issuer."""
        given = request.query_params
        attempt = self._sessions.attempt_of(request.cookies)
        if attempt is None or not hmac.compare_digest(
            given.get("state", "").encode(), attempt.state.encode()
        ):
            return told(400, "This login cannot go on", _NOT_BEGUN, again=True)
        try:
            if not self._client.is_issuers(given.get("iss")):
                return told(400, "This login cannot go on", "It is another issuer's.", again=True)
            if "code" not in given:
                return told(403, "Not logged in", "The issuer let nobody in.", again=True)
            token = self._client.access_token(given["code"], self._sessions.verifier_of(attempt))
        except PrefetchError as error:
            return told(502, "This login cannot go on", str(error), again=True)
        response = self._enter(self._verdict(token), attempt)
        response.headers.append("Set-Cookie", self._sessions.no_attempt())
        return response

    def logout(self, request: Request) -> Response:
        """End the session; the issuer may remember its own."""
        response = to("/logged-out")
        session = self._sessions.of(request.cookies)
        if session is not None:
            response.headers["Set-Cookie"] = self._sessions.end(session)
        return response

    def logged_out(self, _request: Request) -> Response:
        """Say that the session is over."""
        return told(200, "Logged out", "The console has forgotten you.", again=True)

    def _verdict(self, token: str) -> Verdict:
        """The verdict, once there are keys to reach one with, or none come for a while."""
        ends = self._clock() + _KEYS_WAIT_S
        while True:
            verdict = self._tokens.verify(token, now_s=self._clock(), wait_s=0.25)
            if verdict.reason is not Reason.KEYS_UNAVAILABLE or self._clock() >= ends:
                return verdict
            self._sleep(0.1)

    def _enter(self, verdict: Verdict, attempt: Attempt) -> Response:
        identity = verdict.identity
        if identity is None:
            reason = "" if verdict.reason is None else verdict.reason.value
            _LOG.warning("login refused: %s, token sha256 %s", reason, verdict.token_sha256)
            text = f"The issuer's token is not accepted: {reason}."
            return told(403, "Not logged in", text, again=True)
        if "operator" not in roles_of(identity.issuer, identity.groups, self._role_groups):
            _LOG.warning("login refused: no operator, token sha256 %s", verdict.token_sha256)
            return HTMLResponse(html("not_operator.html", subject=identity.subject), 403)
        response = to(attempt.next)
        response.headers["Set-Cookie"] = self._sessions.begin(identity)
        return response


_NOT_BEGUN: Final = "It was not begun in this browser, or a while ago."


def local_path(path: str) -> str:
    """A path of the console that a login may lead to; "/" for anything else."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours and len(path) <= _LONGEST_NEXT else "/"


def told(status: int, title: str, text: str, *, again: bool = False) -> Response:
    """A page with one sentence, for anybody."""
    return HTMLResponse(html("told.html", title=title, text=text, again=again), status)
