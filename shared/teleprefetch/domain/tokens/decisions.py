"""Verdicts that were reached already, by the digest of the whole token."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from teleprefetch.domain.tokens.claims import Identity
from teleprefetch.domain.tokens.refusal import PASSING, Reason

_KEPT_S: Final = 300.0
_REFUSAL_KEPT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whom a token is of, or why it is refused; exactly one of the two is there.

    `token_sha256` names the token where the token itself may not stand; it is empty for what is
    too long to be one.
    """

    identity: Identity | None
    reason: Reason | None
    token_sha256: str


@dataclass(frozen=True, slots=True)
class _Kept:
    verdict: Verdict
    until_s: float
    generation: int


class Decisions:
    """A bounded memory of verdicts, least recently used out first; safe between threads.

    Acceptances and refusals have room apart, so that a flood of bad tokens forgets no good one.
    An acceptance ends with its token, a refusal that time may heal is not kept at all, and
    either ends when keys change (`generation`).
    """

    def __init__(self, *, most: int = 10_000, most_refusals: int = 1_000) -> None:
        self._lock = threading.Lock()
        self._accepted: OrderedDict[bytes, _Kept] = OrderedDict()
        self._refused: OrderedDict[bytes, _Kept] = OrderedDict()
        self._most = most
        self._most_refusals = most_refusals

    def recall(self, digest: bytes, *, generation: int, now_s: float) -> Verdict | None:
        """The verdict for the token of that digest, if one stands."""
        with self._lock:
            memory = self._accepted if digest in self._accepted else self._refused
            kept = memory.get(digest)
            if kept is None:
                return None
            if kept.generation != generation or now_s >= kept.until_s:
                del memory[digest]
                return None
            memory.move_to_end(digest)
            return kept.verdict

    def keep(self, digest: bytes, verdict: Verdict, *, generation: int, now_s: float) -> None:
        """Remember a verdict reached with the keys of that generation."""
        if verdict.identity is not None:
            until_s = min(now_s + _KEPT_S, verdict.identity.ends_at_s)
            memory, most = self._accepted, self._most
        elif verdict.reason in PASSING:
            return
        else:
            until_s = now_s + _REFUSAL_KEPT_S
            memory, most = self._refused, self._most_refusals
        with self._lock:
            memory[digest] = _Kept(verdict, until_s, generation)
            memory.move_to_end(digest)
            if len(memory) > most:
                memory.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._accepted) + len(self._refused)


def digest_of(token: str) -> bytes:
    """The SHA-256 of a whole token, signature and all."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
