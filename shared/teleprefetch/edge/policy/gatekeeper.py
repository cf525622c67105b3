"""Decides each request at the node, and remembers decisions for seconds."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from teleprefetch.domain.policy.access import (
    Action,
    Circumstances,
    Decision,
    NodeStatus,
    Principal,
    Resource,
)
from teleprefetch.domain.policy.readings import Reading, access_of
from teleprefetch.edge.policy.engine import CedarPolicies

_MOST_REMEMBERED: Final = 50_000
_LONGEST_REASON: Final = 200
_LOOK_EVERY_S: Final = 0.05


class Readings(Protocol):
    """Where readings come from; `ReadingList` is one."""

    def of_study(self, study_instance_uid: str) -> tuple[Reading, ...]:
        """The readings that name a study and have not ended."""

    def version(self) -> int:
        """A number that changes with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for; `study` None is the node's own status.

    `break_glass` is the reason that the reader gave for an emergency, if any.
    """

    principal: Principal
    action: Action
    study: str | None
    client: str
    break_glass: str = ""
    key: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the key that a decision about it is remembered by."""
        key = (
            self.principal.token_sha256,
            self.action,
            self.study or "",
            self.client,
            self.break_glass,
        )
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Allowed: by which policies, of which version, and for which assignment and order.

    `is_break_glass` says that nothing else would have allowed it.
    """

    policies: tuple[str, ...]
    policy_set: str
    is_break_glass: bool = False
    assignment: str = ""
    order: str = ""
    origin_id: str = ""
    patient: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Refused. To the client it looks as a study does that is not there: 404, the same body.

    `reason` and `policies` are for the audit alone.
    """

    policies: tuple[str, ...]
    policy_set: str
    reason: str


Verdict = Grant | Refusal


class _Remembered(NamedTuple):
    verdict: Verdict
    until_s: float


class Gatekeeper:
    """The one place where requests are decided; every route and every hit asks here.

    Nothing but the reading list is looked at, so that a study that is not held and one that is
    another's take the same path.

    Args:
        policies: what decides.
        readings: who was assigned what.
        node: this node's name.
        locations: the reading locations that it stands beside.
        remember_s: how long a decision is used again. Other policies end that at once, other
            readings within 50 ms, and so does the end of the token.
        clock: the time.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        policies: CedarPolicies,
        *,
        readings: Readings,
        node: str,
        locations: Sequence[str],
        remember_s: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policies = policies
        self._readings = readings
        self._node = node
        self._locations = tuple(locations)
        self._remember_s = remember_s
        self._clock = clock
        self._timer = timer
        self._remembered: dict[tuple[str, ...], _Remembered] = {}
        self._version = readings.version()
        self._look_at_s = 0.0

    @property
    def policy_set(self) -> str:
        """The version of the policies in force."""
        return self._policies.version

    def use(self, policies: CedarPolicies) -> None:
        """Decide by other policies from now on."""
        self._policies = policies
        self._remembered = {}

    def recall(self, asked: Asked) -> Verdict | None:
        """What was decided of late, if it still stands; it never evaluates.

        Raises:
            NodeUnavailableError: the readings cannot be read.
        """
        return self._recall(asked.key)

    def admit(self, asked: Asked) -> Verdict:
        """Whether the request may go on.

        Raises:
            NodeUnavailableError: the readings cannot be read.
            CorruptPayloadError: one of them is damaged.
        """
        key = asked.key
        recalled = self._recall(key)
        if recalled is not None:
            return recalled
        # kept from before the decision: if `use` comes meanwhile, this goes to the old dictionary
        memory = self._remembered
        verdict = self._decide(asked)
        self._remember(memory, key, verdict, asked.principal)
        return verdict

    def visible(self, asked: Asked, studies: Iterable[str]) -> Mapping[str, Grant]:
        """Those of the studies that the principal may find, each with why.

        `asked.study` is left aside.

        Raises:
            NodeUnavailableError: the readings cannot be read.
            CorruptPayloadError: one of them is damaged.
        """
        decided = ((study, self.admit(_about(asked, study))) for study in studies)
        return {study: verdict for study, verdict in decided if isinstance(verdict, Grant)}

    def _recall(self, key: tuple[str, ...]) -> Verdict | None:
        self._forget_if_changed()
        remembered = self._remembered.get(key)
        if remembered is None or self._timer() >= remembered.until_s:
            return None
        return remembered.verdict

    def _decide(self, asked: Asked) -> Verdict:
        now = self._clock()
        if asked.principal.ends_at_s <= now.timestamp():
            return self._refusal((), "the token has ended")
        readings, resources = self._resources(asked.study)
        plain = Circumstances(now, asked.client)
        decisions = self._decisions(asked, resources, plain)
        reason = asked.break_glass.strip()[:_LONGEST_REASON]
        is_emergency = not _allowed(decisions) and bool(reason)
        if is_emergency:
            emergency = Circumstances(now, asked.client, reason)
            decisions = self._decisions(asked, resources, emergency)
        index = next((i for i, each in enumerate(decisions) if each.is_allowed), None)
        if index is None:
            return self._refusal(*_why_not(decisions))
        decision, resource = decisions[index], resources[index]
        if isinstance(resource, NodeStatus):
            return Grant(policies=decision.policies, policy_set=self.policy_set)
        reading = next((one for one in readings if one.reading_location == resource.location), None)
        return Grant(
            policies=decision.policies,
            policy_set=self.policy_set,
            is_break_glass=is_emergency,
            assignment=reading.assignment_id if reading is not None else "",
            order=reading.prefetch_id if reading is not None else "",
            origin_id=resource.origin_id,
            patient=resource.patient,
        )

    def _resources(self, study: str | None) -> tuple[Sequence[Reading], Sequence[Resource]]:
        if study is None:
            return (), (NodeStatus(self._node),)
        readings = self._readings.of_study(study)
        return readings, access_of(study, readings, locations=self._locations)

    def _decisions(
        self, asked: Asked, resources: Sequence[Resource], at: Circumstances
    ) -> tuple[Decision, ...]:
        return self._policies.decide_all(asked.principal, asked.action, resources, at)

    def _refusal(self, policies: tuple[str, ...], reason: str) -> Refusal:
        return Refusal(policies=policies, policy_set=self.policy_set, reason=reason)

    def _forget_if_changed(self) -> None:
        if self._timer() < self._look_at_s:
            return
        self._look_at_s = self._timer() + _LOOK_EVERY_S
        version = self._readings.version()
        if version != self._version:
            self._version = version
            self._remembered = {}

    def _remember(
        self,
        memory: dict[tuple[str, ...], _Remembered],
        key: tuple[str, ...],
        verdict: Verdict,
        principal: Principal,
    ) -> None:
        left_s = principal.ends_at_s - self._clock().timestamp()
        if left_s <= 0:
            return
        if len(memory) >= _MOST_REMEMBERED:
            memory.clear()
        memory[key] = _Remembered(verdict, self._timer() + min(self._remember_s, left_s))


def _about(asked: Asked, study: str) -> Asked:
    return Asked(
        principal=asked.principal,
        action=asked.action,
        study=study,
        client=asked.client,
        break_glass=asked.break_glass,
    )


def _allowed(decisions: Sequence[Decision]) -> bool:
    return any(decision.is_allowed for decision in decisions)


def _why_not(decisions: Sequence[Decision]) -> tuple[tuple[str, ...], str]:
    if any(decision.problems for decision in decisions):
        return (), "a policy could not be evaluated"
    forbidding = tuple(sorted({name for decision in decisions for name in decision.policies}))
    return forbidding, "forbidden" if forbidding else "no policy permits it"
