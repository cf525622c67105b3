"""The values of an assignment: what the worklist says, and the notice that answers it."""

from typing import Literal

from pydantic import Field

from teleprefetch.dicom import DicomUid
from teleprefetch.model import AssignedTo, Instant, OriginId, Priority, Slug, StudyWarmth, Value
from teleprefetch.prefetch import digest_of


class StudyAssigned(Value):
    """The detail of the worklist's event `Study Assigned`.

    `deadline_at` is when the notice goes out at the latest; without it the pipeline's own
    setting counts from the event's time. A node that asks who reads shows the study to
    `assigned_to`; without it, to nobody.
    """

    schema_version: Literal["1"]
    assignment_id: Slug
    origin_id: OriginId
    study_instance_uid: DicomUid
    reading_location: Slug
    priority: Priority = "high"
    deadline_at: Instant | None = None
    assigned_to: AssignedTo | None = None


class AssignmentAddress(Value):
    """What a notice needs of an assignment, each by itself where the whole cannot be read."""

    assignment_id: Slug | None = None
    origin_id: OriginId | None = None
    study_instance_uid: DicomUid | None = None
    reading_location: Slug | None = None


class Assignment(Value):
    """An admitted assignment; `wait_s` is how long the notice may wait for proof.

    `is_first` is False for a second event about an assignment that another execution handles;
    `event_id` is that of the event.
    """

    assignment_id: Slug
    prefetch_id: Slug
    origin_id: OriginId
    study_instance_uid: DicomUid
    reading_location: Slug
    priority: Priority
    deadline_at: Instant
    assigned_to: AssignedTo | None = None
    wait_s: int = Field(ge=0)
    is_first: bool
    event_id: Slug | None = None


class PriorWarmth(Value):
    """One prior in the notice: where it ranks and why, and whether it is beside the reader.

    `missing` is one that the archive does not give any more. `link` opens it beside the current
    study, if the site has said where its viewer is.
    """

    study_instance_uid: DicomUid
    rank: int = Field(ge=1)
    score: float
    reasons: tuple[str, ...]
    warm: Literal["warm", "partial", "cold", "missing", "left out"]
    frames_planned: int = Field(default=0, ge=0)
    frames_verified: int = Field(default=0, ge=0)
    problem: str = ""
    link: str | None = None


NoticeReason = Literal["warm", "partial", "cold"]


class Notice(Value):
    """What releases an assignment to its reader; there is one for each assignment.

    `reason` is what is proven at that instant - warm: all that the site requires - and `why` says
    in words what is lacking, and what failed. A field of the assignment that could not be read is
    None. `priors` are the first by rank, as many as an event can hold; `priors_not_listed` counts
    the rest. `link` opens the study in the viewer, if the site has said where that is.
    """

    assignment_id: Slug
    prefetch_id: Slug
    origin_id: OriginId | None
    study_instance_uid: DicomUid | None
    reading_location: Slug | None
    reason: NoticeReason
    why: str
    released_at: Instant
    deadline_at: Instant | None
    current: StudyWarmth | None
    priors: tuple[PriorWarmth, ...]
    priors_not_listed: int = Field(default=0, ge=0)
    link: str | None = None
    event_id: Slug | None = None
    schema_version: Literal["1"] = "1"

    @property
    def is_complete(self) -> bool:
        """True if everything that was planned was proven warm."""
        return self.reason == "warm" and not self.why


class LateWarm(Value):
    """The detail of `Study Warm`: what a notice said was lacking has since been proven warm."""

    assignment_id: Slug
    prefetch_id: Slug
    origin_id: OriginId | None
    study_instance_uid: DicomUid | None
    reading_location: Slug | None
    warm_at: Instant
    released_at: Instant
    studies: int = Field(ge=1)
    link: str | None = None
    event_id: Slug | None = None
    schema_version: Literal["1"] = "1"


def prefetch_id_of_assignment(assignment_id: str) -> str:
    """The name of the prefetch that an assignment asks for."""
    return "assigned-" + digest_of(assignment_id)
