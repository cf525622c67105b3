"""The values of a prefetch: what asks for it, what it finds, and how it ends."""

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from teleprefetch.dicom import DicomUid
from teleprefetch.model import (
    AssignedTo,
    ImageSetId,
    Instant,
    ObjectPointer,
    OriginId,
    Priority,
    PurgeOrder,
    SeriesPointer,
    Slug,
    StudyRecord,
    Value,
)

Cause = Literal["import", "assignment", "operator"]


class PrefetchRequest(Value):
    """The input of a `prefetch` execution; `prefetch_id` is the execution's name as well.

    `waiter` is the task token of an assignment that waits for this prefetch, or empty;
    `assignment_id` and `assigned_to` say which one, and who reads, `deadline_at` when its notice
    goes out at the latest. `of` is the import that asks for
    it, or the prefetch that it repeats; `event_id` the event that all of it came of.
    """

    prefetch_id: Slug
    origin_id: OriginId
    study_instance_uid: DicomUid
    reading_locations: tuple[Slug, ...] = Field(min_length=1)
    cause: Cause
    priority: Priority = "routine"
    waiter: str = ""
    assignment_id: Slug | None = None
    assigned_to: AssignedTo | None = None
    deadline_at: Instant | None = None
    of: Slug | None = None
    event_id: Slug | None = None


class Candidates(Value):
    """The current study, and every other study of its patient that the archive admits to."""

    current: StudyRecord
    others: tuple[StudyRecord, ...]


class ImportedStudies(Value):
    """The prefetches that an import asks for, one for each study; kept as a document."""

    requests: tuple[PrefetchRequest, ...]


class EndedImportJob(Value):
    """A HealthImaging import job that ended; `ended_at` None if the service does not say."""

    datastore_id: OriginId
    job_id: str
    job_status: Literal["COMPLETED", "FAILED"]
    output_s3_uri: str
    ended_at: Instant | None


class ChangedImageSet(Value):
    """An image set, and the version that it has since `changed_at`."""

    datastore_id: OriginId
    image_set_id: ImageSetId
    version_id: int
    changed_at: Instant


class PurgeMessage(Value):
    """A purge order and the queue it goes to."""

    queue_url: str
    order: PurgeOrder


class ImportResolution(Value):
    """What an import event came to; it travels in the state, so it holds counts and pointers."""

    import_id: Slug
    kind: Literal["import", "changed", "deleted", "import failed"]
    requests: ObjectPointer
    studies: int = Field(ge=0)
    historical: int = Field(default=0, ge=0)
    missing: int = Field(default=0, ge=0)
    files_failed: int = Field(default=0, ge=0)
    purges: tuple[PurgeMessage, ...] = ()


class NodeFailure(Value):
    """What the machine caught of a node that did not answer."""

    error: str = Field(alias="Error")
    cause: str = Field(default="", alias="Cause")


class NodeResult(Value):
    """What one node answered, or that it did not; counts only."""

    node: Slug
    state: Literal["warm", "partial", "lost"]
    frames_planned: int = 0
    frames_warmed: int = 0
    frames_verified: int = 0
    frames_fetched: int = 0
    bytes_warmed: int = 0
    bytes_fetched: int = 0
    prefetch_id: Slug | None = None
    error: NodeFailure | None = None


OutcomeState = Literal[
    "warm", "partial", "cold", "none relevant",
    "prefetching", "historical", "empty", "changed", "deleted", "import failed",
    "refused", "failed",
]  # fmt: skip


class Outcome(Value):
    """How an import event or a prefetch ended: one for each, whatever else happened.

    `subject` is an import id or a prefetch id. `cause` is the name of an error and the field it
    names; never content.
    """

    subject: Slug
    state: OutcomeState
    recorded_at: Instant
    origin_id: OriginId | None = None
    study_instance_uid: DicomUid | None = None
    cause: str = ""
    counts: dict[str, int] = Field(default_factory=dict)


def digest_of(*parts: str) -> str:
    """A name for `parts` that tells nothing of them: 40 hex digits of their SHA-256.

    Study UIDs are near to PHI, and execution names land in logs.
    """
    joined = "\x1f".join(parts).encode()
    return hashlib.sha256(joined).hexdigest()[:40]


def prefetch_id_of(
    *, origin_id: str, study_instance_uid: str, series: Iterable[SeriesPointer]
) -> str:
    """The name of the prefetch of a study as it stands: the same series and versions, one name."""
    held = sorted(
        f"{pointer.image_set_id or pointer.series_instance_uid}@{pointer.version_id}"
        for pointer in series
    )
    return "study-" + digest_of(origin_id, study_instance_uid, *held)
