"""What a viewer is told about its readers' login, and where it leads out again."""

import re
from typing import Final
from urllib.parse import urlsplit

from teleprefetch.errors import InvalidPayloadError
from teleprefetch.settings import ViewerLogin

_AUTHORITY: Final = re.compile(r"([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", re.ASCII)
LOGGED_OUT_PAGE: Final = (
    b'<!doctype html><html lang="en"><meta charset="utf-8">'
    b'<meta name="viewport" content="width=device-width, initial-scale=1"><title>Logged out</title>'
    b"<style>:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }"
    b"body { margin: 0; min-height: 100vh; display: grid; place-items: center }</style>"
    b'<main><h1>Logged out</h1><p><a href="/">Log in again</a></p></main></html>'
)
"""Where a provider sends the browser after a logout; OHIF's own place for it is an empty page."""


def oidc_entry(login: ViewerLogin) -> dict[str, object]:
    """OHIF's `oidc` entry, which it hands to oidc-client-ts.

    A token is renewed with a refresh token, of which `offline_access` asks for one: a hidden frame
    of another origin is not let in here. A provider need not have a revocation endpoint.
    """
    return {
        "authority": login.authority,
        "client_id": login.client_id,
        "redirect_uri": login.redirect_path,
        "response_type": "code",
        "scope": login.scope,
        "post_logout_redirect_uri": login.after_logout_path,
        "automaticSilentRenew": True,
        "revokeAccessTokenOnSignout": False,
    } | ({"resource": login.resource} if login.resource else {})


def login_origins(login: ViewerLogin) -> tuple[str, ...]:
    """Where the viewer must get through to, as a content security policy names it.

    Raises:
        InvalidPayloadError: an address has a host that no policy can name.
    """
    return tuple(dict.fromkeys(map(_origin, (login.authority, *login.origins))))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise InvalidPayloadError("viewer_login: an address with an unusual host")
    return f"{parts.scheme}://{parts.netloc}"
