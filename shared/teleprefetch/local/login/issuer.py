"""The local stack's OpenID provider: discovery, keys, login page, code flow, logout; on loopback.

OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0; RFC 6749, 7636, 9068, 9207, 9700.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from teleprefetch.local.healthimaging.server import HttpServer
from teleprefetch.local.healthimaging.wire import Request, Response
from teleprefetch.local.login.answering import (
    DISCOVERY,
    allow_origin,
    discovery,
    error_answer,
    form_of,
    json_answer,
    redirect,
)
from teleprefetch.local.login.authorizing import (
    READ,
    CannotRedirectError,
    RedirectedError,
    read_request,
    redirect_to,
)
from teleprefetch.local.login.grants import Grant, Grants
from teleprefetch.local.login.oauth import Client, OAuthError, Parameters, client_of
from teleprefetch.local.login.pages import login_page, plain_page
from teleprefetch.local.login.people import PEOPLE, Person
from teleprefetch.local.login.tokens import TOKEN_S, TokenSigner

_OWN_CLIENT: Final = "local-stack"
_OWN_TOKEN_S: Final = 3600


class LocalIssuer:
    """Listens on a port of loopback from construction on; answers between entering and leaving.

    Args:
        people: who may log in.
        token_s: how long a viewer's tokens live; it gets new ones by a refresh token.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        people: Sequence[Person] = PEOPLE,
        token_s: int = TOKEN_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._people = {person.subject: person for person in people}
        self._token_s = token_s
        self._clients: dict[str, Client] = {}
        self._grants = Grants(clock)
        self._server = HttpServer(port=0, answer=self.answer, link=None)
        self._signer = TokenSigner(self.url, clock)
        self._routes: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", DISCOVERY): lambda _: json_answer(discovery(self.url)),
            ("GET", "/keys"): lambda _: json_answer(self._signer.public_keys()),
            ("GET", "/authorize"): self._authorize,
            ("POST", "/login"): self._login,
            ("POST", "/token"): self._token,
            ("GET", "/userinfo"): self._userinfo,
            ("GET", "/logout"): self._logout,
        }

    @property
    def url(self) -> str:
        """The issuer's address, which is its name in tokens too."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    def register(self, client: Client) -> None:
        """Let a client ask for logins."""
        self._clients[client.client_id] = client

    def token_for(self, person: Person, *, lifetime_s: int = _OWN_TOKEN_S) -> str:
        """An access token as if this person had logged in."""
        return self._signer.access_token(
            person, client_id=_OWN_CLIENT, scopes=("openid", READ), lifetime_s=lifetime_s
        )

    def answer(self, request: Request) -> Response:
        """The response to a request that names this server as its host."""
        # a page elsewhere whose name leads to loopback would be a way in (DNS rebinding)
        if request.headers.get("host") != urlsplit(self.url).netloc:
            return plain_page(421, "Misdirected", "This is not the host that was asked.")
        origins = frozenset().union(*(client.origins for client in self._clients.values()))
        if request.method == "OPTIONS":
            return allow_origin(Response(204), request, origins)
        handler = self._routes.get((request.method, request.raw_path))
        if handler is None:
            return plain_page(404, "Not found", "There is nothing here.")
        return allow_origin(handler(request), request, origins)

    def _authorize(self, request: Request) -> Response:
        try:
            asked = read_request(Parameters(request.query()), self._clients)
        except CannotRedirectError as error:
            return plain_page(400, "This login cannot go on", str(error))
        except RedirectedError as failed:
            return redirect(
                redirect_to(
                    failed.redirect_uri,
                    error=failed.error.code,
                    error_description=failed.error.description,
                    state=failed.state,
                    iss=self.url,
                )
            )
        parts = urlsplit(asked.redirect_uri)
        login = self._grants.begin(asked)
        return login_page(
            login, self._people.values(), form_origin=f"{parts.scheme}://{parts.netloc}"
        )

    def _login(self, request: Request) -> Response:
        try:
            form = form_of(request)
        except OAuthError as error:
            return plain_page(400, "This login cannot go on", error.description)
        asked = self._grants.login(form.get("login"))
        person = self._people.get(form.get("subject"))
        if asked is None or person is None:
            return plain_page(400, "This login cannot go on", "It is over; begin again.")
        code = self._grants.code(asked, person)
        return redirect(redirect_to(asked.redirect_uri, code=code, state=asked.state, iss=self.url))

    def _token(self, request: Request) -> Response:
        try:
            return json_answer(self._granted(request))
        except OAuthError as error:
            return error_answer(error, scheme="Basic")

    def _granted(self, request: Request) -> dict[str, object]:
        """What a client gets for a code or a refresh token (RFC 6749 4.1.3, 5.1, 6)."""
        form = form_of(request)
        kind = form.need("grant_type")
        if kind not in {"authorization_code", "refresh_token"}:
            raise OAuthError("unsupported_grant_type", "grant_type: not supported")
        if "authorization" in request.headers:
            raise OAuthError("invalid_client", "client: has no secret here")
        client = client_of(form, self._clients)
        if kind == "refresh_token":
            return self._tokens(
                *self._grants.refresh(form.need("refresh_token"), client_id=client.client_id)
            )
        return self._tokens(
            *self._grants.redeem(
                form.need("code"),
                client_id=client.client_id,
                redirect_uri=form.need("redirect_uri"),
                verifier=form.need("code_verifier"),
            )
        )

    def _tokens(self, grant: Grant, refresh_token: str) -> dict[str, object]:
        asked = grant.request
        told: dict[str, object] = {
            "access_token": self._signer.access_token(
                grant.person,
                client_id=asked.client.client_id,
                scopes=asked.scopes,
                lifetime_s=self._token_s,
            ),
            "token_type": "Bearer",
            "expires_in": self._token_s,
            "scope": " ".join(sorted(asked.scopes)),
            "id_token": self._signer.id_token(grant),
        }
        return told | ({"refresh_token": refresh_token} if refresh_token else {})

    def _userinfo(self, request: Request) -> Response:
        """Whom an access token speaks of (OIDC Core 5.3)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise OAuthError("invalid_token", "authorization: no bearer token")
            person = self._people[self._signer.read_access(token)["sub"]]
        except OAuthError as error:
            return error_answer(error, scheme="Bearer")
        return json_answer(
            {"sub": person.subject, "name": person.name, "groups": list(person.groups)}
        )

    def _logout(self, request: Request) -> Response:
        """End what a person granted, and go back where the client may send them."""
        given = Parameters(request.query())
        try:
            given.check_once()
            claims = self._signer.read_id(given.need("id_token_hint"))
        except OAuthError as error:
            return plain_page(400, "Not logged out", error.description)
        self._grants.end(claims["sub"], claims["aud"])
        target = given.get("post_logout_redirect_uri")
        client = self._clients.get(claims["aud"])
        if not target:
            return plain_page(200, "Logged out", "You may close this page.")
        if client is None or target not in client.after_logout_uris:
            return plain_page(400, "Logged out", "post_logout_redirect_uri: not this client's")
        return redirect(redirect_to(target, state=given.get("state")))
