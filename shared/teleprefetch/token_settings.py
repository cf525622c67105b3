"""What an operator may set about tokens, checked without pydantic.

The authorizer reads this within its second, and pydantic alone takes a tenth of it. Each field
is an environment variable of that name in capitals.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

from teleprefetch.adapters.keys_http import check_url
from teleprefetch.domain.tokens.issuers import (
    ALGORITHMS,
    MOST_AGE_S,
    NEVER_IGNORED,
    TYPES,
    IssuerRules,
    KeysPlace,
)
from teleprefetch.domain.tokens.roles import OPERATION_CLASSES, RoleRule
from teleprefetch.errors import InvalidPayloadError

_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)
_DATASTORE_ID: Final = re.compile(r"[0-9a-z]{32}|\*", re.ASCII)
_COGNITO: Final = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/", re.ASCII)
_Item = TypeVar("_Item")
_MOST_S: Final = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Who issues tokens, which roles they lead to, and the data store that may ask."""

    token_issuers: tuple[IssuerRules, ...]
    reader_roles: tuple[RoleRule, ...]
    authorizer_datastore_id: str


TOKEN_SETTINGS: Final = tuple(field.name for field in fields(TokenSettings))


def token_settings(environment: Mapping[str, str]) -> TokenSettings:
    """Read the settings of the authorizer.

    Raises:
        InvalidPayloadError: a variable is missing or breaks its contract; the message names it
            and the field in it.
    """
    datastore_id = environment.get("AUTHORIZER_DATASTORE_ID", "")
    if not _DATASTORE_ID.fullmatch(datastore_id):
        raise InvalidPayloadError("settings.AUTHORIZER_DATASTORE_ID: neither an id nor *")
    roles = _items("READER_ROLES", environment, read_role)
    return TokenSettings(token_issuers(environment), roles, datastore_id)


def token_issuers(environment: Mapping[str, str]) -> tuple[IssuerRules, ...]:
    """Read TOKEN_ISSUERS alone; what a node needs.

    Raises:
        InvalidPayloadError: as `token_settings`.
    """
    issuers = _items("TOKEN_ISSUERS", environment, read_issuer)
    names = [rules.issuer for rules in issuers]
    if len(set(names)) != len(names):
        raise InvalidPayloadError("settings.TOKEN_ISSUERS: an issuer twice")
    return issuers


def read_issuer(given: Any, at: str) -> IssuerRules:
    """One issuer's rules from JSON; `at` is where it stands, for messages."""
    reader = _Reader(given, at)
    issuer = reader.text("issuer")
    is_cognito = _COGNITO.match(issuer) is not None
    rules = IssuerRules(
        issuer=issuer,
        audiences=frozenset(reader.texts("audiences", ())),
        client_ids=frozenset(reader.texts("client_ids", ())),
        token_use=reader.optional_text("token_use", "access" if is_cognito else None),
        algorithms=reader.texts("algorithms", ALGORITHMS, among=ALGORITHMS),
        types=frozenset(each.lower() for each in reader.texts("types", tuple(TYPES))),
        type_needed=reader.flag("type_needed", default=False),
        scopes=frozenset(reader.texts("scopes", ())),
        groups_claim=reader.texts(
            "groups_claim", ("cognito:groups",) if is_cognito else ("groups",)
        ),
        site_claim=reader.texts("site_claim", ("site",)),
        ignored_headers=frozenset(reader.texts("ignored_headers", ())),
        leeway_s=reader.seconds("leeway_s", 0, most=300),
        max_age_s=reader.seconds("max_age_s", MOST_AGE_S, most=MOST_AGE_S),
        max_lifetime_s=reader.optional_seconds("max_lifetime_s"),
        keys=KeysPlace(
            jwks_uri=reader.optional_text("jwks_uri", None),
            hosts=frozenset(reader.texts("key_hosts", ())),
            refresh_s=reader.seconds("keys_refresh_s", 300, least=10),
            stale_s=reader.seconds("keys_stale_s", 24 * 3600, least=10),
            cooldown_s=reader.seconds("keys_cooldown_s", 10, least=1),
        ),
    )
    reader.end()
    _check_issuer(rules, at)
    return rules


def read_role(given: Any, at: str) -> RoleRule:
    """One rule of READER_ROLES from JSON; `at` is where it stands, for messages."""
    reader = _Reader(given, at)
    rule = RoleRule(
        role_arn=reader.text("role_arn"),
        operations=frozenset(
            reader.texts("operations", among=tuple(sorted(set(OPERATION_CLASSES.values()))))
        ),
        groups=frozenset(reader.texts("groups")),
        issuers=frozenset(reader.texts("issuers", ())),
        scopes=frozenset(reader.texts("scopes", ())),
    )
    reader.end()
    if not _ROLE_ARN.fullmatch(rule.role_arn):
        raise InvalidPayloadError(f"{at}.role_arn: not the ARN of a role")
    return rule


def _check_issuer(rules: IssuerRules, at: str) -> None:
    _check_addresses(rules, at)
    if not rules.audiences and not rules.client_ids:
        raise InvalidPayloadError(f"{at}.audiences: needed, or client_ids with token_use")
    if not rules.audiences and rules.token_use is None:
        raise InvalidPayloadError(f"{at}.token_use: needed where client_ids stand alone")
    if rules.ignored_headers & NEVER_IGNORED:
        raise InvalidPayloadError(f"{at}.ignored_headers: one that is never ignored")
    for name in ("algorithms", "types", "groups_claim", "site_claim"):
        if not getattr(rules, name):
            raise InvalidPayloadError(f"{at}.{name}: empty")
    if rules.keys.stale_s < rules.keys.refresh_s:
        raise InvalidPayloadError(f"{at}.keys_stale_s: less than keys_refresh_s")


def _check_addresses(rules: IssuerRules, at: str) -> None:
    name = "issuer" if rules.keys.jwks_uri is None else "jwks_uri"
    try:
        check_url(rules.keys.jwks_uri or rules.issuer, rules.key_hosts)
    except (InvalidPayloadError, ValueError) as error:
        raise InvalidPayloadError(
            f"{at}.{name}: not an https address, or http on loopback"
        ) from error


def _items(
    name: str, environment: Mapping[str, str], read: Callable[[Any, str], _Item]
) -> tuple[_Item, ...]:
    at = f"settings.{name}"
    try:
        listed = json.loads(environment.get(name) or "[]")
    except ValueError as error:
        raise InvalidPayloadError(f"{at}: not JSON") from error
    if not isinstance(listed, list):
        raise InvalidPayloadError(f"{at}: not a list")
    return tuple(read(each, f"{at}[{index}]") for index, each in enumerate(listed))


class _Reader:
    """Takes fields out of a JSON object by their kinds, and knows which were left."""

    def __init__(self, given: Any, at: str) -> None:
        if not isinstance(given, dict):
            raise InvalidPayloadError(f"{at}: not an object")
        self._left = dict(given)
        self._at = at

    def text(self, name: str) -> str:
        if name not in self._left:
            raise InvalidPayloadError(f"{self._at}.{name}: missing")
        return self._text(self._left.pop(name), name)

    def optional_text(self, name: str, default: str | None) -> str | None:
        return self.text(name) if name in self._left else default

    def texts(
        self, name: str, default: tuple[str, ...] | None = None, *, among: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        if name not in self._left and default is not None:
            return default
        value = self._left.pop(name, None)
        if not isinstance(value, list):
            raise InvalidPayloadError(f"{self._at}.{name}: not a list of strings")
        found = tuple(self._text(each, name) for each in value)
        if among and not set(found) <= set(among):
            raise InvalidPayloadError(f"{self._at}.{name}: not among {', '.join(among)}")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._left.pop(name, default)
        if not isinstance(value, bool):
            raise InvalidPayloadError(f"{self._at}.{name}: neither true nor false")
        return value

    def seconds(
        self, name: str, default: float, *, least: float = 0, most: float = _MOST_S
    ) -> float:
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidPayloadError(f"{self._at}.{name}: not a number")
        if not least <= value <= most:
            raise InvalidPayloadError(f"{self._at}.{name}: not from {least:g} to {most:g}")
        return float(value)

    def optional_seconds(self, name: str) -> float | None:
        return self.seconds(name, 0) if name in self._left else None

    def end(self) -> None:
        if self._left:
            raise InvalidPayloadError(f"{self._at}.{min(self._left)}: not a setting")

    def _text(self, value: Any, name: str) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidPayloadError(f"{self._at}.{name}: not a string, or an empty one")
        return value
