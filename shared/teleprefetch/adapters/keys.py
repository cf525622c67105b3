"""The issuers' public keys: fetched in the background, kept through outages, never in the way."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from teleprefetch.adapters.keys_discovery import discover_keys
from teleprefetch.adapters.keys_http import fetch_document
from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.domain.tokens.signatures import VerificationKey, read_key_set
from teleprefetch.errors import PrefetchError

Report = Callable[[str, str], None]
_FETCH_S: Final = 2.0
_PATIENCE_S: Final = 0.25
_WITHOUT_KEYS_S: Final = 1.0
_Keys = Mapping[str | None, VerificationKey]


def _silent(_issuer: str, _news: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class _Flight:
    """A fetch that is under way, and until when anybody waits for it."""

    patience_ends: float
    landed: threading.Event = field(default_factory=threading.Event)


class IssuerKeys:
    """One issuer's keys.

    A key that is held is found without waiting, and a fetch that is due runs beside it. A key
    that is not held starts a fetch, at most one at a time and one in the cooldown; whoever asks
    waits for it, but nobody longer than a quarter of a second after it began.

    Args:
        rules: the issuer's rules.
        clock: seconds since 1970.
        report: told `(issuer, what)` of every fetch that fails and every change of keys.
    """

    def __init__(
        self,
        rules: IssuerRules,
        *,
        clock: Callable[[], float] = time.time,
        report: Report = _silent,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._report = report
        self._hosts = rules.key_hosts
        self._lock = threading.Lock()
        self._keys: _Keys = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._flight: _Flight | None = None
        self._address = rules.keys.jwks_uri
        self.generation = 0

    def find(self, key_id: str | None, *, wait_s: float) -> VerificationKey:
        """The key of that id, or without an id the only one.

        Raises:
            TokenRefusedError: UNKNOWN_KEY, or KEYS_UNAVAILABLE if no keys are held.
        """
        self.refresh_if_due()
        key = self._pick(key_id)
        if key is None:
            self._await_fetch(wait_s)
            key = self._pick(key_id)
        if key is None:
            held = self._held()
            raise TokenRefusedError(Reason.UNKNOWN_KEY if held else Reason.KEYS_UNAVAILABLE)
        return key

    def refresh_if_due(self) -> None:
        """Begin a fetch if the keys are older than they should be; never waits."""
        if self._age_s() >= self._rules.keys.refresh_s:
            self._begin()

    def close(self) -> None:
        """Return when no fetch is under way."""
        flight = self._flight
        if flight is not None:
            flight.landed.wait(_FETCH_S * 2)

    def _pick(self, key_id: str | None) -> VerificationKey | None:
        held = self._held()
        if key_id is None and len(held) == 1:
            return next(iter(held.values()))
        return held.get(key_id)

    def _held(self) -> _Keys:
        return self._keys if self._age_s() < self._rules.keys.stale_s else {}

    def _age_s(self) -> float:
        fetched_at = self._fetched_at
        if fetched_at is None:
            return float("inf")
        # a clock that was set back makes keys old, not young for ever
        age_s = self._clock() - fetched_at
        return age_s if age_s >= -1 else self._rules.keys.refresh_s

    def _await_fetch(self, wait_s: float) -> None:
        flight = self._begin()
        if flight is not None:
            left_s = min(wait_s, flight.patience_ends - time.monotonic())
            flight.landed.wait(max(0.0, left_s))

    def _begin(self) -> _Flight | None:
        """The fetch that is under way, begun if it may be; None while the cooldown lasts."""
        with self._lock:
            if self._flight is not None:
                return self._flight
            now_s = self._clock()
            cooldown_s = self._rules.keys.cooldown_s
            if not self._held():
                cooldown_s = min(cooldown_s, _WITHOUT_KEYS_S)
            if self._tried_at is not None and 0 <= now_s - self._tried_at < cooldown_s:
                return None
            self._tried_at = now_s
            flight = self._flight = _Flight(time.monotonic() + _PATIENCE_S)
        threading.Thread(target=self._fly, args=(flight,), name="issuer-keys", daemon=True).start()
        return flight

    def _fly(self, flight: _Flight) -> None:
        try:
            document = self._fetch_set()
            self._take(read_key_set(document, self._rules.algorithms))
        except PrefetchError as error:
            if self._rules.keys.jwks_uri is None:
                self._address = None
            self._report(self._rules.issuer, str(error))
        finally:
            with self._lock:
                self._flight = None
            flight.landed.set()

    def _fetch_set(self) -> bytes:
        if self._address is None:
            self._address = discover_keys(self._rules.issuer, self._fetch, hosts=self._hosts)
        return self._fetch(self._address)

    def _fetch(self, url: str) -> bytes:
        return fetch_document(url, hosts=self._hosts, limit_s=_FETCH_S)

    def _take(self, keys: _Keys) -> None:
        changed = _content(keys) != _content(self._keys)
        self._keys = keys
        self._fetched_at = self._clock()
        if changed:
            self.generation += 1
            self._report(self._rules.issuer, "keys: changed")


class KeyRing:
    """The keys of every issuer; a `KeySource` for the verifier, safe between threads."""

    def __init__(
        self,
        issuers: Iterable[IssuerRules],
        *,
        clock: Callable[[], float] = time.time,
        report: Report = _silent,
    ) -> None:
        self._rings = {
            rules.issuer: IssuerKeys(rules, clock=clock, report=report) for rules in issuers
        }

    def find(self, issuer: str, key_id: str | None, *, wait_s: float) -> VerificationKey:
        """The issuer's key of that id; see `IssuerKeys.find`."""
        ring = self._rings.get(issuer)
        if ring is None:
            raise TokenRefusedError(Reason.ISSUER)
        return ring.find(key_id, wait_s=wait_s)

    def generation(self) -> int:
        """A number that grows when keys change; begins fetches that are due, and never waits."""
        total = 0
        for ring in self._rings.values():
            ring.refresh_if_due()
            total += ring.generation
        return total

    def warm_up(self) -> None:
        """Begin to fetch every issuer's keys; returns at once."""
        self.generation()

    def close(self) -> None:
        """Return when no fetch is under way."""
        for ring in self._rings.values():
            ring.close()


def _content(keys: _Keys) -> set[tuple[object, ...]]:
    return {(key.key_id, key.algorithm, key.public) for key in keys.values()}
