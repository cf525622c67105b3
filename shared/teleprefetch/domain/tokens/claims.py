"""What a token's claims must say, by its issuer's rules; the signature is somebody else's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from teleprefetch.domain.tokens.compact import Unverified
from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError

_MOST_NAME: Final = 256
_LAST_S: Final = 2**53
_MOST_NAMES: Final = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token speaks of, once it is proven.

    `ends_at_s` is the last moment at which the token may be believed: its `exp`, or its age.
    """

    issuer: str
    subject: str
    groups: frozenset[str]
    scopes: frozenset[str]
    client_id: str | None
    site: str | None
    token_id: str | None
    ends_at_s: float


def check_header(token: Unverified, rules: IssuerRules) -> None:
    """Return if the header is as the issuer's rules want it.

    Raises:
        TokenRefusedError: a member that is neither `alg`, `kid`, `typ` nor to be ignored, an
            algorithm that the issuer does not use, or another kind of token.
    """
    if token.other_members - rules.ignored_headers:
        raise TokenRefusedError(Reason.HEADER_MEMBER)
    if token.algorithm not in rules.algorithms:
        raise TokenRefusedError(Reason.ALGORITHM)
    if token.type is None:
        if rules.type_needed:
            raise TokenRefusedError(Reason.TYPE)
    elif token.type not in rules.types:
        raise TokenRefusedError(Reason.TYPE)


def identify(claims: Mapping[str, Any], rules: IssuerRules, *, now_s: float) -> Identity:
    """Whom the claims speak of (RFC 7519 4.1, RFC 9068 2.2, and HealthImaging's 12 hours).

    Raises:
        TokenRefusedError: a claim is missing, of the wrong kind, or not what the rules want.
    """
    ends_at_s = _check_times(claims, rules, now_s)
    _check_addressee(claims, rules)
    scopes = _scopes(claims)
    if not rules.scopes <= scopes:
        raise TokenRefusedError(Reason.SCOPE)
    site = _at(claims, rules.site_claim)
    return Identity(
        issuer=rules.issuer,
        subject=_name(claims.get("sub"), Reason.SUBJECT),
        groups=_names(_at(claims, rules.groups_claim)),
        scopes=scopes,
        client_id=_client_id(claims),
        site=None if site is None else _name(site, Reason.CLAIM),
        token_id=_optional_name(claims, "jti"),
        ends_at_s=ends_at_s,
    )


def _check_times(claims: Mapping[str, Any], rules: IssuerRules, now_s: float) -> float:
    expires_s = _time(claims, "exp", Reason.EXPIRY)
    issued_s = _time(claims, "iat", Reason.ISSUED_AT)
    last_s = min(expires_s + rules.leeway_s, issued_s + rules.max_age_s)
    if now_s >= expires_s + rules.leeway_s:
        raise TokenRefusedError(Reason.EXPIRED)
    if now_s < issued_s - rules.leeway_s:
        raise TokenRefusedError(Reason.ISSUED_LATER)
    if now_s > issued_s + rules.max_age_s:
        raise TokenRefusedError(Reason.TOO_OLD)
    if "nbf" in claims and now_s < _time(claims, "nbf", Reason.NOT_BEFORE) - rules.leeway_s:
        raise TokenRefusedError(Reason.NOT_YET)
    if rules.max_lifetime_s is not None and expires_s - issued_s > rules.max_lifetime_s:
        raise TokenRefusedError(Reason.LIFETIME)
    return last_s


def _check_addressee(claims: Mapping[str, Any], rules: IssuerRules) -> None:
    if rules.audiences and not rules.audiences & _audiences(claims):
        raise TokenRefusedError(Reason.AUDIENCE)
    if rules.client_ids and _client_id(claims) not in rules.client_ids:
        raise TokenRefusedError(Reason.CLIENT)
    if rules.token_use is not None and claims.get("token_use") != rules.token_use:
        raise TokenRefusedError(Reason.TOKEN_USE)


def _time(claims: Mapping[str, Any], name: str, wrong: Reason) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefusedError(wrong)
    if not 0 <= value <= _LAST_S:  # which no NaN and no infinity is
        raise TokenRefusedError(wrong)
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get("aud")
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise TokenRefusedError(Reason.AUDIENCE)
    return frozenset(listed)


def _client_id(claims: Mapping[str, Any]) -> str | None:
    return _optional_name(claims, "client_id" if "client_id" in claims else "azp")


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims["scope"] if "scope" in claims else claims.get("scp")
    return frozenset(value.split(" ")) - {""} if isinstance(value, str) else _names(value)


def _at(claims: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _names(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > _MOST_NAMES:
        raise TokenRefusedError(Reason.CLAIM)
    return frozenset(_name(each, Reason.CLAIM) for each in listed)


def _optional_name(claims: Mapping[str, Any], name: str) -> str | None:
    return _name(claims[name], Reason.CLAIM) if name in claims else None


def _name(value: Any, wrong: Reason) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_NAME or not value.isprintable():
        raise TokenRefusedError(wrong)
    return value
