"""The pages of the local issuer: who logs in, logged out, and what was wrong."""

from collections.abc import Iterable
from html import escape
from typing import Final

from teleprefetch.local.healthimaging.wire import Response
from teleprefetch.local.login.people import Person

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { width: min(22rem, 90vw) }
h1 { font-size: 1.25rem }
button { display: block; width: 100%; margin: .5rem 0; padding: .75rem 1rem; font: inherit;
  text-align: left; border: 1px solid; border-radius: .5rem; background: none; cursor: pointer }
button:hover, button:focus { background: #8883 }
small { opacity: .7 }
"""


def login_page(login: str, people: Iterable[Person], *, form_origin: str) -> Response:
    """Asks who logs in; the answer is posted to `/login`.

    Args:
        login: the name of the pending request.
        people: who may be chosen.
        form_origin: where the form's answer leads, which a policy on forms covers as well.
    """
    choices = "".join(
        f'<button name="subject" value="{escape(person.subject)}">{escape(person.name)}<br>'
        f"<small>{escape(', '.join(person.groups))} at {escape(person.site)}</small></button>"
        for person in people
    )
    body = (
        '<form method="post" action="/login">'
        f'<input type="hidden" name="login" value="{escape(login)}">{choices}</form>'
        "<p><small>The issuer of a local stack: nobody here is real, and no password is asked."
        "</small></p>"
    )
    return _page(200, "Who reads?", body, forms=f"'self' {form_origin}")


def plain_page(status: int, title: str, text: str) -> Response:
    """A page with one sentence."""
    return _page(status, title, f"<p>{escape(text)}</p>", forms="'none'")


def _page(status: int, title: str, body: str, *, forms: str) -> Response:
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<main><h1>{escape(title)}</h1>{body}</main></html>"
    )
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action {forms}; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(status, html.encode(), "text/html; charset=utf-8", headers)
