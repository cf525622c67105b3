"""The one verifier of bearer tokens: the authorizer's, and the node's."""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from teleprefetch.domain.tokens.claims import Identity, check_header, identify
from teleprefetch.domain.tokens.compact import MOST_CHARACTERS, open_token
from teleprefetch.domain.tokens.decisions import Decisions, Verdict, digest_of
from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.domain.tokens.signatures import VerificationKey

_WAIT_S: Final = 0.25


class KeySource(Protocol):
    """Where the issuers' keys come from."""

    def find(self, issuer: str, key_id: str | None, *, wait_s: float) -> VerificationKey:
        """The issuer's key of that id; without an id, the only one it has.

        Raises:
            TokenRefusedError: the issuer has no such key, or none could be had in `wait_s`.
        """

    def generation(self) -> int:
        """A number that grows when any issuer's keys change; never waits."""


class Verifier:
    """Tells whom a token is of, by its issuer's rules and keys; safe between threads."""

    def __init__(
        self,
        issuers: Iterable[IssuerRules],
        keys: KeySource,
        *,
        decisions: Decisions | None = None,
    ) -> None:
        self._issuers = {rules.issuer: rules for rules in issuers}
        self._keys = keys
        self._decisions = Decisions() if decisions is None else decisions

    def verify(self, token: str, *, now_s: float, wait_s: float = _WAIT_S) -> Verdict:
        """The verdict on a token; it never raises for what a token holds.

        Args:
            token: in compact form, without `Bearer `.
            now_s: seconds since 1970.
            wait_s: how long keys may be waited for; only a key that is not held makes it wait.
        """
        if len(token) > MOST_CHARACTERS:
            return Verdict(None, Reason.TOO_LONG, "")
        digest = digest_of(token)
        generation = self._keys.generation()
        known = self._decisions.recall(digest, generation=generation, now_s=now_s)
        if known is not None:
            return known
        try:
            verdict = Verdict(self._examine(token, now_s, wait_s), None, digest.hex())
        except TokenRefusedError as refused:
            verdict = Verdict(None, refused.reason, digest.hex())
        self._decisions.keep(digest, verdict, generation=generation, now_s=now_s)
        return verdict

    def _examine(self, token: str, now_s: float, wait_s: float) -> Identity:
        unverified = open_token(token)
        rules = self._rules_of(unverified.claims.get("iss"))
        check_header(unverified, rules)
        key = self._keys.find(rules.issuer, unverified.key_id, wait_s=wait_s)
        if key.algorithm != unverified.algorithm:
            raise TokenRefusedError(Reason.KEY_ALGORITHM)
        if not key.signed(token):
            raise TokenRefusedError(Reason.SIGNATURE)
        return identify(unverified.claims, rules, now_s=now_s)

    def _rules_of(self, issuer: Any) -> IssuerRules:
        rules = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if rules is None:
            raise TokenRefusedError(Reason.ISSUER)
        return rules
