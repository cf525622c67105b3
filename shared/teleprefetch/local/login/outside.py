"""An OpenID provider that is not the stack's own, asked once what it is."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from teleprefetch.adapters.keys_http import fetch_document
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError, PrefetchError
from teleprefetch.local.login.answering import DISCOVERY
from teleprefetch.local.login.authorizing import AUDIENCE
from teleprefetch.local.login.provider import Provider
from teleprefetch.token_settings import token_issuers

_WITHIN_S: Final = 5.0


def outside_provider(
    url: str,
    *,
    client_id: str,
    audience: str | None = None,
    scope: str | None = None,
    reader: str | None = None,
) -> Provider:
    """The provider at an address, as its discovery document describes it.

    Args:
        url: the issuer's.
        client_id: the viewer's, a public client there.
        audience: what its access tokens are for; None is what those of the local issuer are for.
        scope: what the viewer asks for, parted by spaces; None is what the local issuer gives.
        reader: the subject to whom studies are assigned; None is the group `readers`.

    Raises:
        InvalidPayloadError: the address is not one that may be asked, or belongs to another issuer.
        OriginUnavailableError: there is no discovery document.
    """
    document = _discovery(url)
    issuer = document.get("issuer")
    if not isinstance(issuer, str) or issuer.rstrip("/") != url.rstrip("/"):
        raise InvalidPayloadError("--oidc: the issuer there has another name")
    found = Provider(
        issuer=issuer,
        client_id=client_id,
        audience=AUDIENCE if audience is None else audience,
        needs=(),
        origins=_origins(document),
        reader=reader,
    )
    if scope is not None:
        found = found.asking(scope.split())
    token_issuers({"TOKEN_ISSUERS": found.token_issuers()})
    return found


def _discovery(url: str) -> Mapping[str, Any]:
    """The document of OIDC Discovery 1.0, 4."""
    hosts = frozenset({_parts(url).hostname or ""})
    try:
        content = fetch_document(url.rstrip("/") + DISCOVERY, hosts=hosts, limit_s=_WITHIN_S)
        document = json.loads(content)
    except InvalidPayloadError as error:
        raise InvalidPayloadError(f"--oidc: {error}") from error
    except (PrefetchError, ValueError) as error:
        raise OriginUnavailableError("--oidc: no discovery document there") from error
    return document if isinstance(document, dict) else {}


def _origins(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the viewer changes a code for tokens, which need not be at the issuer's."""
    parts = _parts(str(document.get("token_endpoint", "")))
    if not parts.hostname:
        raise InvalidPayloadError("--oidc: names no token endpoint")
    return (f"{parts.scheme}://{parts.netloc}",)


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidPayloadError("--oidc: an address that is none") from error
