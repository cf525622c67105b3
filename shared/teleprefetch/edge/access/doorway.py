"""The doorway of a node: token, then policy, and what is written about either."""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.access.beside_token import request_id_of
from teleprefetch.edge.access.entries import Admitted, Entry, TurnedAway, Visitor, Written
from teleprefetch.edge.access.identifying import Identifying, Stranger
from teleprefetch.edge.access.stencil import pieces_of_reader
from teleprefetch.edge.access.turnstile import Turnstile
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.dicomweb.messages import NOT_HELD, Request, Response, refusal
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.policy.gatekeeper import Asked, Gatekeeper, Grant, Refusal
from teleprefetch.edge.policy.recording import Answer, record_of, record_of_refused_token
from teleprefetch.errors import InvalidPayloadError, PrefetchError

_LOG: Final = logging.getLogger(__name__)
_RETRY_S: Final = 5
_CHALLENGE: Final = 'Bearer realm="teleprefetch"'
_FORWARDED: Final = frozenset({"forwarded", "x-forwarded-for", "via"})


class NodeDoorway:
    """Lets in whoever has a token and may, by policy, do what they ask for.

    Args:
        identifying: tells who asks.
        gate: decides by policy.
        log: takes the records.
        turnstile: counts refusals of strangers.
        at_sweep: looks after what changes: the policies' files, the audit's state.
    """

    def __init__(
        self,
        identifying: Identifying,
        *,
        gate: Gatekeeper,
        log: AuditLog,
        turnstile: Turnstile | None = None,
        at_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        self.lines: Final = log
        self._identifying = identifying
        self._gate = gate
        self._turnstile = turnstile or Turnstile()
        self._at_sweep = at_sweep

    def known(self, headers: Mapping[str, str], client: str) -> Visitor | None:
        """Whoever sends these headers, if their token was accepted of late."""
        return self._identifying.known(headers, client)

    def is_current(self, visitor: Visitor) -> bool:
        """Whether that still stands."""
        return self._identifying.is_current(visitor)

    def recall(self, visitor: Visitor, action: Action, study: str) -> Written | None:
        """What to write of a request that was granted of late; None: it is to be decided."""
        written = visitor.written(action, study)
        asked = visitor.asked(action, study) if written is None else written.asked
        verdict = self._gate.recall(asked)
        if written is not None and verdict is written.grant:
            return written
        if not isinstance(verdict, Grant):
            return None
        kind = "break-glass" if verdict.is_break_glass else "served"
        written = Written(asked, verdict, kind, pieces_of_reader(asked, verdict))
        visitor.keep(action, study, written)
        return written

    def admit(self, request: Request, place: Place) -> Entry | None:
        """Decide about a request; None: anybody may have the answer, and nothing is recorded.

        The store is not looked at.
        """
        if place.action is None or _is_local_metrics(request, place):
            return None
        try:
            visitor = self._identifying.identify(request)
        except InvalidPayloadError as error:
            return self._stranger(request, place, Stranger(str(error)), refusal(400, str(error)))
        if isinstance(visitor, Stranger):
            return self._stranger(request, place, visitor, _not_accepted(visitor))
        asked = visitor.asked(place.action, place.study)
        try:
            return self._decided(asked, request, place)
        except PrefetchError as error:
            return self._cannot_decide(asked, request, error)

    def sweep(self) -> None:
        """Look after what changes; from time to time, on a thread that may wait."""
        self.flush(all_of_them=False)
        self._at_sweep()

    def flush(self, *, all_of_them: bool = True) -> None:
        """Write down what was counted of strangers."""
        for record in self._turnstile.ended(all_of_them=all_of_them):
            try:
                self.lines.commit(record)
            except PrefetchError as error:
                _LOG.critical(
                    "audit: %s refusals of strangers: %s", record.detail.get("count"), error
                )

    def _decided(self, asked: Asked, request: Request, place: Place) -> Entry:
        if place.fault:
            verdict = self._refused("a malformed path")
            return self._turned_away(asked, verdict, request, refusal(400, place.fault))
        if place.action == "search" and place.study is None:
            return self._admitted(asked, None, request)
        decided = self._gate.admit(asked)
        if isinstance(decided, Grant):
            if decided.is_break_glass:
                _LOG.warning("break-glass: a study was opened in an emergency")
            return self._admitted(asked, decided, request)
        if place.study is None:
            return self._turned_away(asked, decided, request, refusal(403, "node: for operators"))
        return self._turned_away(asked, decided, request, NOT_HELD)

    def _admitted(self, asked: Asked, verdict: Grant | None, request: Request) -> Admitted:
        return Admitted(
            asked,
            verdict,
            visible=self._gate.visible,
            policy_set=self._gate.policy_set,
            request_id=request_id_of(request.headers),
        )

    def _turned_away(
        self, asked: Asked, verdict: Refusal, request: Request, response: Response
    ) -> TurnedAway:
        answer = Answer(status=response.status, request=request_id_of(request.headers))
        return TurnedAway(response, record_of(asked, verdict, answer))

    def _cannot_decide(self, asked: Asked, request: Request, error: PrefetchError) -> TurnedAway:
        _LOG.error("a request cannot be decided: %s: %s", type(error).__name__, error)
        response = refusal(503, "node: cannot decide now", ("Retry-After", str(_RETRY_S)))
        return self._turned_away(asked, self._refused(str(error)), request, response)

    def _refused(self, reason: str) -> Refusal:
        return Refusal(policies=(), policy_set=self._gate.policy_set, reason=reason)

    def _stranger(
        self, request: Request, place: Place, stranger: Stranger, response: Response
    ) -> TurnedAway:
        waits_s = 0 if stranger.no_keys else self._turnstile.is_over(request.client)
        if waits_s:
            slow_down = ("Retry-After", str(waits_s))
            return TurnedAway(refusal(429, "token: refused too often", slow_down), None)
        return TurnedAway(response, _stranger_record(request, place, stranger, response.status))


def _stranger_record(
    request: Request, place: Place, stranger: Stranger, status: int
) -> AuditRecord:
    return record_of_refused_token(
        reason=stranger.reason,
        client=request.client,
        action=place.action,
        study=place.study or "",
        request=request_id_of(request.headers),
        token_sha256=stranger.token_sha256,
        status=status,
    )


def _not_accepted(stranger: Stranger) -> Response:
    if stranger.no_keys:
        return refusal(503, "token: cannot be verified now", ("Retry-After", str(_RETRY_S)))
    error = ', error="invalid_token"' if stranger.has_token else ""
    return refusal(401, "token: missing or not accepted", ("WWW-Authenticate", _CHALLENGE + error))


def _is_local_metrics(request: Request, place: Place) -> bool:
    """Whoever watches the node from its own machine; a proxy there speaks for others."""
    is_metrics = place.route is not None and place.route.name == "metrics"
    return is_metrics and not _FORWARDED & request.headers.keys() and _is_loopback(request.client)


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
