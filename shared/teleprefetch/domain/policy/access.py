"""Principal, action, resource and circumstances of a request, and what was decided."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from teleprefetch.errors import InvalidPayloadError

Action = Literal["search", "metadata", "frames", "rendered", "status"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
Role = Literal["reader", "operator"]
RoleGroups = Mapping[str, Mapping[str, Role]]
"""Which role a group of an issuer has: issuer, group, role."""


def qualified(issuer: str, name: str) -> str:
    """A subject or a group of an issuer, as one name: two issuers' names are never the same.

    An issuer's URL has no fragment (OpenID Connect Discovery 1.0, 2), so the first `#` parts them.

    Raises:
        InvalidPayloadError: the issuer holds a `#`.
    """
    if "#" in issuer or not issuer:
        raise InvalidPayloadError("issuer: empty, or with a fragment")
    return f"{issuer}#{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a verified token speaks of.

    `site` is the reading location that the issuer states; `ends_at_s` is when the token may no
    longer be believed, in seconds since 1970. `token_sha256` stands for the whole token.
    """

    issuer: str
    subject: str
    site: str | None
    groups: frozenset[str]
    roles: frozenset[Role]
    token_id: str | None
    token_sha256: str
    ends_at_s: float

    @property
    def name(self) -> str:
        """The subject of this issuer."""
        return qualified(self.issuer, self.subject)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups of this issuer, in order."""
        return tuple(sorted(qualified(self.issuer, group) for group in self.groups))


def roles_of(issuer: str, groups: Iterable[str], role_groups: RoleGroups) -> frozenset[Role]:
    """The roles that the groups of an issuer have."""
    known = role_groups.get(issuer, {})
    return frozenset(known[group] for group in groups if group in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyAccess:
    """A study as one reading location knows it; names are qualified.

    A study that nobody was assigned, and one that does not exist, have nothing but the location.
    """

    study_instance_uid: str
    location: str
    origin_id: str = ""
    patient: str = ""
    assigned_to: frozenset[str] = frozenset()
    assigned_to_groups: frozenset[str] = frozenset()
    prior_for: frozenset[str] = frozenset()
    prior_for_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node itself, for its status."""

    node: str


Resource = StudyAccess | NodeStatus


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When and from which address; `break_glass` is the reason given for an emergency, if any."""

    now: datetime
    network: str
    break_glass: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, and by which policies; none of them: nothing permits it.

    `problems` are policies that failed to evaluate; then nothing is allowed.
    """

    is_allowed: bool
    policies: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
