"""What every answer of the console says to browsers, and which host it answers for."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: Final = {
    # no script and no style of a page's own, so that what others wrote can never become either
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # no-referrer would make a form's Origin null (Fetch standard, "append a request Origin header")
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_TLS: Final = "max-age=31536000"


class HostAndHeaders:
    """Refuses requests for other hosts (RFC 9110 15.5.20), and gives answers their headers.

    A page elsewhere whose name leads here would be a way in (DNS rebinding).

    Args:
        app: what answers.
        host: the host and port of the console's address.
        is_tls: whether browsers come by TLS, and are to stay with it (RFC 6797).
    """

    def __init__(self, app: ASGIApp, *, host: str, is_tls: bool) -> None:
        self._app = app
        self._host = host
        self._is_tls = is_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_ALWAYS)
                headers.setdefault("Cache-Control", "no-store")
                if self._is_tls:
                    headers["Strict-Transport-Security"] = _TLS
            await send(message)

        if Headers(scope=scope).get("host") != self._host:
            refusal = PlainTextResponse("This is not the host that was asked.\n", 421)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
