"""Tells who sends a request, by its bearer token, and remembers it for a while."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from teleprefetch.domain.policy.access import Principal, RoleGroups, roles_of
from teleprefetch.domain.tokens.claims import Identity
from teleprefetch.domain.tokens.decisions import Verdict
from teleprefetch.domain.tokens.refusal import Reason
from teleprefetch.edge.access.beside_token import check_query, emergency_of
from teleprefetch.edge.access.entries import Visitor
from teleprefetch.edge.dicomweb.authorization import bearer_of
from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.errors import AccessDeniedError

_KEPT_S: Final = 300.0
_MOST_VISITORS: Final = 10_000
_LOOK_EVERY_S: Final = 0.05
_KEYS_WAIT_S: Final = 0.25
_Key = tuple[bytes, str, str]


class Tokens(Protocol):
    """Tells whom a token is of; `Verifier` is one."""

    def verify(self, token: str, *, now_s: float, wait_s: float) -> Verdict:
        """The verdict on a token."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody whose token is not accepted: why, and the token's digest if there was one.

    `no_keys` says that nobody's token can be verified now, and `has_token` that there was one.
    """

    reason: str
    token_sha256: str = ""
    has_token: bool = False
    no_keys: bool = False


class Identifying:
    """Visitors by their tokens.

    Args:
        tokens: verify them.
        generation: a number that grows when the keys change; never waits.
        role_groups: which groups have which role.
        clock: seconds since 1970.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        generation: Callable[[], int],
        role_groups: RoleGroups,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._generation_now = generation
        self._role_groups = role_groups
        self._clock = clock
        self._timer = timer
        self._visitors: dict[_Key, Visitor] = {}
        self._generation = generation()
        self._look_at_s = 0.0

    def known(self, headers: Mapping[str, str], client: str) -> Visitor | None:
        """Whoever sends these headers, if their token was accepted of late; never waits."""
        token = bearer_of(headers)
        if token is None:
            return None
        visitor = self._visitors.get(_key(token, headers, client))
        return visitor if visitor is not None and self.is_current(visitor) else None

    def is_current(self, visitor: Visitor) -> bool:
        """Whether the token has not ended, and the keys are the same."""
        now_s = self._timer()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + _LOOK_EVERY_S
            self._generation = self._generation_now()
        return visitor.generation == self._generation and self._clock() < visitor.until_s

    def identify(self, request: Request) -> Visitor | Stranger:
        """Whoever sends a request; may wait for keys, a quarter of a second at most.

        Raises:
            InvalidPayloadError: the reason for an emergency is none; the token was accepted.
        """
        try:
            check_query(request)
        except AccessDeniedError as error:
            return Stranger(str(error), has_token=True)
        token = bearer_of(request.headers)
        if token is None:
            has_token = "authorization" in request.headers
            return Stranger("not one bearer token" if has_token else "no token", "", has_token)
        known = self.known(request.headers, request.client)
        if known is not None:
            return known
        generation = self._generation_now()
        now_s = self._clock()
        verdict = self._tokens.verify(token, now_s=now_s, wait_s=_KEYS_WAIT_S)
        if verdict.identity is None:
            no_keys = verdict.reason is Reason.KEYS_UNAVAILABLE
            reason = "" if verdict.reason is None else verdict.reason.value
            return Stranger(reason, verdict.token_sha256, has_token=True, no_keys=no_keys)
        visitor = Visitor(
            self._principal(verdict.identity, verdict.token_sha256),
            request.client,
            emergency_of(request.headers),
            until_s=min(verdict.identity.ends_at_s, now_s + _KEPT_S),
            generation=generation,
        )
        self._remember(_key(token, request.headers, request.client), visitor)
        return visitor

    def _remember(self, key: _Key, visitor: Visitor) -> None:
        if len(self._visitors) >= _MOST_VISITORS:
            self._visitors = {}
        self._visitors[key] = visitor

    def _principal(self, identity: Identity, token_sha256: str) -> Principal:
        return Principal(
            issuer=identity.issuer,
            subject=identity.subject,
            site=identity.site,
            groups=identity.groups,
            roles=roles_of(identity.issuer, identity.groups, self._role_groups),
            token_id=identity.token_id,
            token_sha256=token_sha256,
            ends_at_s=identity.ends_at_s,
        )


def _key(token: str, headers: Mapping[str, str], client: str) -> _Key:
    digest = hashlib.sha256(token.encode("ascii")).digest()
    return digest, client, headers.get("x-break-glass", "")
