"""The console as an OpenID Connect client: code flow with PKCE, on the server's side alone.

RFC 6749 4.1, RFC 7636, RFC 9207, RFC 9700; OpenID Connect Discovery 1.0. The access token tells who
logged in, by the same rules and keys as at a node, and is then forgotten.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import urllib3

from teleprefetch.adapters.keys_http import Fetch, check_url, fetch_document
from teleprefetch.console.settings import ConsoleLogin
from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.domain.tokens.refusal import TokenRefusedError
from teleprefetch.domain.tokens.strict_json import read_object
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
)

_DISCOVERY: Final = "/.well-known/openid-configuration"
_WITHIN_S: Final = 5.0
_MOST_BYTES: Final = 256 * 1024


class OpenIdClient:
    """Sends browsers to an issuer, and gets an access token for the code that they bring back.

    Args:
        login: who the console is at the issuer.
        rules: the issuer's; they also say which hosts may be asked.
        redirect_uri: where the issuer sends browsers back to.
        fetch: gets the issuer's discovery document.
    """

    def __init__(
        self,
        login: ConsoleLogin,
        rules: IssuerRules,
        *,
        redirect_uri: str,
        fetch: Fetch | None = None,
    ) -> None:
        self._login = login
        self._rules = rules
        self._redirect_uri = redirect_uri
        self._fetch: Callable[[str], bytes] = fetch or self._from_issuer
        self._document: dict[str, Any] | None = None
        self._secret = _secret(login.client_secret_path)
        self._pool = urllib3.PoolManager(timeout=_WITHIN_S, retries=False)

    def authorization_url(self, state: str, verifier: str, *, is_again: bool) -> str:
        """Where a browser is sent to log in; `is_again`: as if nobody were logged in yet.

        Raises:
            OriginUnavailableError, CorruptPayloadError: the issuer does not tell its addresses.
        """
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self._login.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._login.scope,
            "state": state,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "resource": self._login.resource,
            "prompt": "login" if is_again else "",
        }
        told = urlencode({name: value for name, value in asked.items() if value})
        address = self._address("authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{told}"

    def is_issuers(self, issuer: str | None) -> bool:
        """Whether an answer's `iss` is the issuer's, or may be lacking (RFC 9207 2.4)."""
        if issuer is None:
            promised = self._known().get("authorization_response_iss_parameter_supported")
            return promised is not True
        return issuer == self._rules.issuer

    def access_token(self, code: str, verifier: str) -> str:
        """The access token for a code.

        Raises:
            AccessDeniedError: the issuer gives none for this code.
            OriginUnavailableError, CorruptPayloadError: it does not answer, or something else.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self._login.client_id,
            "code_verifier": verifier,
            "resource": self._login.resource,
        }
        body = urlencode({name: value for name, value in form.items() if value})
        status, content = self._post(self._address("token_endpoint"), body)
        if status in {400, 401, 403}:
            raise AccessDeniedError("login: the issuer gives no token for this code")
        if status != 200:
            raise OriginUnavailableError(f"login: the issuer's token endpoint answers {status}")
        try:
            token = json.loads(content)["access_token"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptPayloadError("login: the issuer's answer has no access_token") from error
        if not isinstance(token, str):
            raise CorruptPayloadError("login: the issuer's access_token is no text")
        return token

    def _post(self, address: str, body: str) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers["Accept"] = "application/json"
        if self._secret:
            # RFC 6749 2.3.1: both are form-encoded first
            told = f"{quote_plus(self._login.client_id)}:{quote_plus(self._secret)}"
            headers |= urllib3.make_headers(basic_auth=told)
        try:
            answer = self._pool.request(
                "POST", address, body=body, headers=headers, redirect=False, preload_content=False
            )
            content = answer.read(_MOST_BYTES)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise OriginUnavailableError("login: the issuer does not answer") from error
        return answer.status, content

    def _address(self, name: str) -> str:
        address = self._known().get(name)
        if not isinstance(address, str):
            raise CorruptPayloadError(f"discovery: {name} is missing")
        try:
            check_url(address, self._rules.key_hosts)
        except InvalidPayloadError as error:
            message = f"discovery: {name} is at a host that key_hosts does not list"
            raise CorruptPayloadError(message) from error
        return address

    def _known(self) -> dict[str, Any]:
        if self._document is None:
            try:
                found = read_object(self._fetch(self._rules.issuer.rstrip("/") + _DISCOVERY))
            except TokenRefusedError as error:
                raise CorruptPayloadError("discovery: not a JSON object") from error
            if found.get("issuer") != self._rules.issuer:
                raise CorruptPayloadError("discovery: issuer is another one")
            self._document = found
        return self._document

    def _from_issuer(self, url: str) -> bytes:
        return fetch_document(url, hosts=self._rules.key_hosts, limit_s=_WITHIN_S)


def _secret(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError("console_login.client_secret_path: cannot be read") from error
