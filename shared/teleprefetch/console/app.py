"""The console's addresses, and who may ask for them."""

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from teleprefetch.console import (
    acting,
    finding,
    nodes,
    now_page,
    replaying,
    rules_page,
    study_page,
    worth_view,
)
from teleprefetch.console.asking import Asked, Console, Handler, to
from teleprefetch.console.entrance import Entrance, told
from teleprefetch.console.headers import HostAndHeaders
from teleprefetch.console.rendering import STATIC, static_file
from teleprefetch.console.sessions import Session
from teleprefetch.errors import (
    AccessDeniedError,
    InvalidPayloadError,
    OriginThrottledError,
    PrefetchError,
    StudyNotFoundError,
)

_LOG: Final = logging.getLogger(__name__)
_MOST_FORM_BYTES: Final = 1_000_000
_PAGES: Final[dict[str, Handler]] = {
    "/": now_page.show,
    "/find": finding.show,
    "/why": study_page.find,
    "/studies/{uid}": study_page.show,
    "/nodes": nodes.show,
    "/replay": replaying.ask,
    "/replay/{job}": replaying.show,
    "/act": acting.ask,
    "/act/{job}": acting.show,
    "/rules": rules_page.ask,
    "/rules/{job}": rules_page.show,
    "/worth": worth_view.show,
}
_FORMS: Final[dict[str, Handler]] = {
    "/find": finding.look_up,
    "/replay": replaying.preview,
    "/replay/{job}": replaying.confirm,
    "/act": acting.preview,
    "/act/{job}": acting.confirm,
    "/rules": rules_page.preview,
}
Endpoint = Callable[[Request], Awaitable[Response]]


def console_app(console: Console, entrance: Entrance, *, url: str) -> ASGIApp:
    """The console as an ASGI application; `url` is where browsers reach it."""
    guard = _Guard(console, origin=url)
    parts = urlsplit(url)

    @asynccontextmanager
    async def until_the_end(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(console.jobs.close)

    pages = Starlette(
        routes=[
            Route("/login", entrance.login),
            Route("/callback", entrance.callback),
            Route("/logout", guard.of_form(entrance.logout), methods=["POST"]),
            Route("/logged-out", entrance.logged_out),
            Route("/static/{name}", _static),
            *(Route(path, guard.page(show)) for path, show in _PAGES.items()),
            *(Route(path, guard.form(act), methods=["POST"]) for path, act in _FORMS.items()),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _broken},
        lifespan=until_the_end,
    )
    # around Starlette's own answer to what broke, too
    return HostAndHeaders(pages, host=parts.netloc, is_tls=parts.scheme == "https")


class _Guard:
    """Nothing is shown or done but for an operator, and nothing done but from our own forms."""

    def __init__(self, console: Console, *, origin: str) -> None:
        self._console = console
        self._origin = origin

    def page(self, show: Handler) -> Endpoint:
        """An endpoint that shows something; who is not logged in, logs in first."""

        async def endpoint(request: Request) -> Response:
            session = self._console.sessions.of(request.cookies)
            if session is None:
                query = f"?{request.url.query}" if request.url.query else ""
                return to(f"/login?next={quote(request.url.path + query, safe='')}")
            return await run_in_threadpool(self._answer, show, request, session, FormData())

        return endpoint

    def form(self, act: Handler) -> Endpoint:
        """An endpoint that does something."""

        async def endpoint(request: Request) -> Response:
            session = self._console.sessions.of(request.cookies)
            if session is None:
                return told(401, "You are not logged in", _NOTHING_DONE, again=True)
            refusal, form = await self._read(request, session)
            try:
                if refusal is not None:
                    return refusal
                return await run_in_threadpool(self._answer, act, request, session, form)
            finally:
                await form.close()

        return endpoint

    def of_form(self, act: Callable[[Request], Response]) -> Endpoint:
        """The same for what needs nothing of the form."""
        return self.form(lambda asked: act(asked.request))

    async def _read(self, request: Request, session: Session) -> tuple[Response | None, FormData]:
        """The form, or why it is refused: it must be one of this session's own."""
        if request.headers.get("origin") != self._origin:
            return told(403, "Refused", f"The form is another site's. {_NOTHING_DONE}"), FormData()
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MOST_FORM_BYTES:
            text = f"The form is longer than {_MOST_FORM_BYTES // 1000} kB. {_NOTHING_DONE}"
            return told(413, "Too long", text), FormData()
        form = await request.form(max_files=1, max_fields=50, max_part_size=_MOST_FORM_BYTES)
        token, wanted = form.get("csrf"), self._console.sessions.token_of(session)
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), wanted.encode()):
            return told(403, "Refused", f"The form is not this login's. {_NOTHING_DONE}"), form
        return None, form

    def _answer(self, act: Handler, request: Request, session: Session, form: FormData) -> Response:
        asked = Asked(console=self._console, request=request, session=session, form=form)
        try:
            return act(asked)
        except PrefetchError as error:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 502)
            words = f"{type(error).__name__}: {error}"
            return asked.page("problem.html", status=status, words=words)


_NOTHING_DONE: Final = "Nothing was done."
_STATUS: Final[dict[type[PrefetchError], int]] = {
    InvalidPayloadError: 400,
    StudyNotFoundError: 404,
    AccessDeniedError: 502,
    OriginThrottledError: 503,
}


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return told(404, "Not found", "There is nothing here.")
    # pages name the version that they want, so that it never changes under its name
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(static_file(name), media_type=STATIC[name], headers=headers)


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "There is nothing here.", 405: "Not by this method."}.get(status, "Refused.")
    return told(status, "Not found" if status == 404 else "Refused", text)


async def _broken(_request: Request, _error: Exception) -> Response:
    return told(500, "The console broke", "Its log says where; the pipeline goes on without it.")
