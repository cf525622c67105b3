"""What the doorway says of a request: it may go on, or it is turned away; each with its record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from teleprefetch.domain.audit.record import AuditRecord, frame_ranges
from teleprefetch.domain.policy.access import Action, Principal
from teleprefetch.edge.access.stencil import Pieces
from teleprefetch.edge.audit.log import Done, Line
from teleprefetch.edge.dicomweb.messages import Request, Response
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.policy.gatekeeper import Asked, Grant
from teleprefetch.edge.policy.recording import Answer, record_of

_MOST_STUDIES: Final = 1000


@dataclass(slots=True)
class Written:
    """The pieces of records about one study to one visitor, as long as the grant stands."""

    asked: Asked
    grant: Grant
    kind: str
    pieces: Pieces


@dataclass(slots=True)
class Visitor:
    """Somebody whose token was accepted, and what was written of them; for the event loop.

    `until_s` is in seconds since 1970, `generation` that of the keys that the token was accepted
    by.
    """

    principal: Principal
    client: str
    break_glass: str
    until_s: float
    generation: int
    _written: dict[tuple[Action, str], Written] = field(default_factory=dict)

    def asked(self, action: Action, study: str | None) -> Asked:
        """A request of theirs, as policies see it."""
        return Asked(
            principal=self.principal,
            action=action,
            study=study,
            client=self.client,
            break_glass=self.break_glass,
        )

    def written(self, action: Action, study: str) -> Written | None:
        """What was written for a study, if anything was."""
        return self._written.get((action, study))

    def keep(self, action: Action, study: str, written: Written) -> None:
        """Remember what was written."""
        if len(self._written) >= _MOST_STUDIES:
            self._written.clear()
        self._written[action, study] = written


class Admitted:
    """A request that may go on.

    Args:
        asked: the request.
        verdict: why; None if each study that is found is decided by itself.
        visible: decides about studies that are found.
        request_id: what the client calls the request.
    """

    def __init__(
        self,
        asked: Asked,
        verdict: Grant | None,
        *,
        visible: Callable[[Asked, Iterable[str]], Mapping[str, Grant]],
        policy_set: str,
        request_id: str,
    ) -> None:
        self._asked = asked
        self._verdict = verdict
        self._visible = visible
        self._policy_set = policy_set
        self._request_id = request_id
        self._shown: dict[str, Grant] = {}

    def sees(self, studies: Iterable[str]) -> frozenset[str]:
        """Those of the studies that may be found.

        Raises:
            NodeUnavailableError: that cannot be decided now.
            CorruptPayloadError: as above.
        """
        found = self._visible(self._asked, studies)
        self._shown.update(found)
        return frozenset(found)

    def record(self, answer: Answer) -> AuditRecord:
        """The record of the answer."""
        verdict = self._verdict if self._verdict is not None else self._search()
        return record_of(self._asked, verdict, replace(answer, request=self._request_id))

    def _search(self) -> Grant:
        """By what all that was found may be."""
        grants = self._shown.values()
        return Grant(
            policies=tuple(sorted({name for grant in grants for name in grant.policies})),
            policy_set=self._policy_set,
            is_break_glass=any(grant.is_break_glass for grant in grants),
        )


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A request that is refused: the answer, and its record; None: it is counted with others."""

    response: Response
    record: AuditRecord | None


Entry = Admitted | TurnedAway


class Lines(Protocol):
    """Takes records; `AuditLog` is one."""

    def write_now(self, lines: Sequence[Line]) -> bool:
        """Write records in this thread, if that is quick; False: they are to be submitted.

        Raises:
            NodeUnavailableError: they are not durable, and the policy is to deny.
        """

    def submit_all(self, lines: Sequence[Line], done: Done) -> None:
        """Take records; `done` is called once, from any thread, when they are durable.

        Raises:
            NodeUnavailableError: they are not taken.
        """


class Doorway(Protocol):
    """Decides about every request; the server has no other way in.

    `known`, `is_current` and `recall` are for the event loop and never wait; `admit` may wait for
    keys and for the reading list.
    """

    @property
    def lines(self) -> Lines:
        """Where records go."""

    def known(self, headers: Mapping[str, str], client: str) -> Visitor | None:
        """Whoever sends these headers, if their token was accepted of late."""

    def is_current(self, visitor: Visitor) -> bool:
        """Whether that still stands."""

    def recall(self, visitor: Visitor, action: Action, study: str) -> Written | None:
        """What to write of a request that was granted of late; None: it is to be decided."""

    def admit(self, request: Request, place: Place) -> Entry | None:
        """Decide about a request; None: anybody may have the answer, and nothing is recorded.

        The store is not looked at.
        """

    def sweep(self) -> None:
        """Look after what changes; from time to time, on a thread that may wait."""


def answer_of(
    response: Response, *, status: int, size_bytes: int, is_origin: bool, action: Action | None
) -> Answer:
    """What is sent, as the audit has it.

    Args:
        response: the answer.
        status: of the answer as it goes out.
        size_bytes: of its body as it goes out.
        is_origin: whether the archive was asked for it.
        action: what was asked for.
    """
    is_content = status < 400 and action != "status"
    shown = response.shown
    return Answer(
        status=status,
        series=shown.series,
        instance=shown.instance,
        frames=frame_ranges(shown.frames),
        image_set=shown.image_set if is_content else "",
        version=shown.version if is_content else "",
        content=response.etag.strip('"') if is_content else "",
        source=("origin" if is_origin else "hit") if is_content else "",
        size_bytes=size_bytes,
    )
