"""What the console may be set to, beside the settings of every operators' command."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, Json

from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Value
from teleprefetch.settings import BaseUrl, from_environment
from teleprefetch.token_settings import token_issuers


class ConsoleLogin(Value):
    """How the console has operators logged in: OpenID Connect's code flow with PKCE.

    `authority` is one of TOKEN_ISSUERS, whose access tokens say who asks. `client_secret_path` is
    a file, where the provider gave the console a secret; `resource` is asked for where a provider
    wants one named (RFC 8707).
    """

    authority: BaseUrl
    client_id: str = Field(min_length=1)
    client_secret_path: str = ""
    scope: str = "openid profile"
    resource: str = ""


class ConsoleSettings(Value):
    """The settings of the console; each field is an environment variable of that name.

    `token_issuers` and `role_groups` are as a node has them. `console_url` is where browsers reach
    the console; by default where it listens. `console_key_path` is a file of 32 bytes or more that
    signs cookies; without it a key is made at each start, and who was logged in logs in again.
    """

    token_issuers: str
    role_groups: Json[dict[str, dict[str, Literal["reader", "operator"]]]]
    console_login: Json[ConsoleLogin]
    console_url: BaseUrl | None = None
    console_key_path: str = ""
    console_session_s: int = Field(default=3600, ge=60, le=43_200)

    @property
    def issuer(self) -> IssuerRules:
        """The rules of the issuer that logs operators in.

        Raises:
            InvalidPayloadError: TOKEN_ISSUERS breaks its contract, or does not list it.
        """
        for rules in token_issuers({"TOKEN_ISSUERS": self.token_issuers}):
            if rules.issuer.rstrip("/") == self.console_login.authority:
                return rules
        raise InvalidPayloadError("settings.console_login.authority: not in TOKEN_ISSUERS")


def console_settings(environment: Mapping[str, str]) -> ConsoleSettings:
    """Read the settings.

    Raises:
        InvalidPayloadError: a variable is missing or breaks its contract; the message names it.
    """
    return from_environment(ConsoleSettings, environment)


def check_console_url(url: str) -> None:
    """Return if operators may be sent there: by TLS, or on this machine.

    Raises:
        InvalidPayloadError: the address is http, and not of loopback.
    """
    parts = urlsplit(url)
    if parts.path:
        raise InvalidPayloadError("CONSOLE_URL: has a path; the console is at the root")
    if parts.scheme == "https":
        return
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise InvalidPayloadError("CONSOLE_URL: neither https nor on loopback")
