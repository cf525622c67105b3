"""The issuer's answers that are no pages, and the forms that it reads."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from teleprefetch.local.healthimaging.wire import Request, Response
from teleprefetch.local.login.authorizing import SCOPES
from teleprefetch.local.login.oauth import OAuthError, Parameters

DISCOVERY: Final = "/.well-known/openid-configuration"
_FORM: Final = "application/x-www-form-urlencoded"


def discovery(issuer: str) -> dict[str, Any]:
    """What the issuer can do, and where (OIDC Discovery 1.0, 3)."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/keys",
        "end_session_endpoint": f"{issuer}/logout",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": list(SCOPES),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "name"],
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }


def json_answer(document: Mapping[str, object]) -> Response:
    """A document that no cache keeps (RFC 6749 5.1)."""
    return Response(body=json.dumps(document).encode(), headers={"Cache-Control": "no-store"})


def error_answer(error: OAuthError, *, scheme: str) -> Response:
    """An error of the token endpoint (RFC 6749 5.2) or of a protected one (RFC 6750 3)."""
    headers = {"Cache-Control": "no-store"}
    if error.status == 401:
        headers["WWW-Authenticate"] = f'{scheme} realm="local", error="{error.code}"'
    told = {"error": error.code, "error_description": error.description}
    return Response(error.status, json.dumps(told).encode(), headers=headers)


def redirect(uri: str) -> Response:
    """Sends a browser on by GET, whatever it came by (RFC 9700 4.12)."""
    return Response(303, headers={"Location": uri, "Cache-Control": "no-store"})


def form_of(request: Request) -> Parameters:
    """The parameters of a form's body.

    Raises:
        OAuthError: invalid_request.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"content-type: {_FORM} alone")
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise OAuthError("invalid_request", "body: no form") from error
    form = Parameters(pairs)
    form.check_once()
    return form


def allow_origin(response: Response, request: Request, origins: frozenset[str]) -> Response:
    """The response, readable by the page that asked if it is a client's (Fetch, CORS)."""
    origin = request.headers.get("origin", "")
    allowed: dict[str, str] = {"Vary": "Origin"}
    if origin in origins:
        allowed |= {"Access-Control-Allow-Origin": origin}
        if request.method == "OPTIONS":
            allowed |= {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
                "Access-Control-Max-Age": "600",
            }
    return Response(
        response.status,
        response.body,
        response.content_type,
        response.headers | allowed,
        response.paced,
    )
