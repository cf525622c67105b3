"""Who may issue tokens, and what each issuer's tokens must say."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

ALGORITHMS: Final = ("RS256", "PS256", "ES256")
"""What may be signed with; of an RSA key that names none, the first listed one is meant."""
TYPES: Final = frozenset({"jwt", "at+jwt"})
"""What `typ` may be, if there is one (RFC 7519 5.1, RFC 9068 2.1)."""
MOST_AGE_S: Final = 12 * 3600
"""How long ago a token may be issued (HealthImaging developer guide, "OIDC authentication")."""
NEVER_IGNORED: Final = frozenset(
    {"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "apu", "apv", "iv", "tag"}
)
"""Header members that bring keys or change what is verified: no setting admits them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysPlace:
    """Where an issuer's keys are, and how long they serve.

    `jwks_uri` None means that the issuer's discovery document says it. Only `hosts` are ever
    asked, besides the issuer's own and that of `jwks_uri`. Keys are fetched anew after
    `refresh_s`, and serve through an outage until they are `stale_s` old. A key that is not
    known is asked for at most once in `cooldown_s`.
    """

    jwks_uri: str | None = None
    hosts: frozenset[str] = frozenset()
    refresh_s: float = 300
    stale_s: float = 24 * 3600
    cooldown_s: float = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRules:
    """What a token of one issuer must say.

    `audiences`: `aud` holds one of them; empty means that `aud` is not looked at. `client_ids`:
    `client_id` (RFC 9068 2.2), or else `azp`, is one of them. `token_use` is Cognito's claim.
    `scopes` must all be there. `groups_claim` is the path to the groups. `ignored_headers` are
    further header members to pass over. A `max_lifetime_s` of None leaves `exp - iat` free.
    """

    issuer: str
    audiences: frozenset[str] = frozenset()
    client_ids: frozenset[str] = frozenset()
    token_use: str | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    types: frozenset[str] = TYPES
    type_needed: bool = False
    scopes: frozenset[str] = frozenset()
    groups_claim: tuple[str, ...] = ("groups",)
    site_claim: tuple[str, ...] = ("site",)
    ignored_headers: frozenset[str] = frozenset()
    leeway_s: float = 0
    max_age_s: float = MOST_AGE_S
    max_lifetime_s: float | None = None
    keys: KeysPlace = KeysPlace()

    @property
    def key_hosts(self) -> frozenset[str]:
        """The hosts that may be asked for this issuer's keys.

        Raises:
            ValueError: the issuer or `jwks_uri` is no address.
        """
        written = (self.issuer, self.keys.jwks_uri or "")
        return self.keys.hosts | {host for each in written if (host := urlsplit(each).hostname)}
