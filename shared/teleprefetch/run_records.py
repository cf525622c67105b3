"""The record of each thing the pipeline did: what an operator finds, and a replay starts from.

Nothing here names a patient: accession number and PatientID are kept as keyed digests, which can be
looked up by whoever may use the key, and cannot be read back.
"""

from typing import Final, Literal, get_args

from pydantic import Field

from teleprefetch.dicom import DicomUid
from teleprefetch.model import Instant, Name, OriginId, PatientKey, Priority, Slug, Value
from teleprefetch.prefetch import digest_of

RunKind = Literal["import", "prefetch", "warm", "notice", "replay", "command"]
RunOutcome = Literal[
    # how imports and prefetches end (`prefetch.OutcomeState`), and notices
    "warm", "partial", "cold", "none relevant",
    "prefetching", "historical", "empty", "changed", "deleted", "import failed",
    "refused", "failed",
    # of a prefetch under way, an order, a notice, a replay, a command
    "warming", "ordered", "lost", "waiting", "redriven", "restarted", "done",
]  # fmt: skip
KINDS: tuple[RunKind, ...] = get_args(RunKind)


class Run(Value):
    """One import, prefetch, order to a node, notice, replay, or other act of an operator.

    A field that was not given is not known here, and leaves what is recorded of it as it is.

    Attributes:
        run_id: an import's, a prefetch's, or made by `warm_run_id` or `notice_run_id`.
        at: when it began; the first word about it stands.
        outcome: how it ended, or how far it is.
        of: the run that it came of: a prefetch's import, an order's prefetch, what was replayed.
        event_id: of the event that all of it came of.
        execution_arn: the execution that did it, where it is known.
        warm_at: of a notice, when `Study Warm` followed it.
        by: of a replay or command, who asked for it; `reason` why.
    """

    run_id: Slug
    kind: RunKind
    at: Instant
    outcome: RunOutcome
    ended_at: Instant | None = None
    cause: str = ""
    of: Slug | None = None
    event_id: Slug | None = None
    origin_id: OriginId | None = None
    study_instance_uid: DicomUid | None = None
    accession_key: str | None = None
    patient_key: str | None = None
    reader: Name | None = None
    reading_location: Slug | None = None
    node: Slug | None = None
    priority: Priority | None = None
    assignment_id: Slug | None = None
    deadline_at: Instant | None = None
    execution_arn: str | None = None
    warm_at: Instant | None = None
    by: str | None = None
    reason: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)


_ALIKE: Final = (
    "study_instance_uid", "accession_key", "patient_key", "reader", "reading_location", "kind",
    "outcome", "event_id",
)  # fmt: skip


class RunFilter(Value):
    """Which runs are looked for: all that agree with every field that is given."""

    study_instance_uid: DicomUid | None = None
    accession_key: str | None = None
    patient_key: str | None = None
    reader: Name | None = None
    reading_location: Slug | None = None
    kind: RunKind | None = None
    outcome: RunOutcome | None = None
    event_id: Slug | None = None
    since: Instant | None = None
    until: Instant | None = None

    def admits(self, run: Run) -> bool:
        """True if the run agrees with every field that is given."""
        return (
            all(getattr(self, name) in {None, getattr(run, name)} for name in _ALIKE)
            and (self.since is None or self.since <= run.at)
            and (self.until is None or run.at <= self.until)
        )


ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
Machine = Literal["import", "prefetch", "assignment"]


class PastExecution(Value):
    """An execution as Step Functions tells of it.

    `redrive_status` is REDRIVABLE or NOT_REDRIVABLE, with the reason in its own words; empty where
    a list does not tell.
    """

    machine: Machine
    name: str
    arn: str
    status: ExecutionStatus
    started_at: Instant
    stopped_at: Instant | None = None
    redrive_status: str = ""
    redrive_status_reason: str = ""


def warm_run_id(prefetch_id: str, node: str) -> str:
    """The name of the run of one node's order."""
    return "warm-" + digest_of(prefetch_id, node)


def notice_run_id(assignment_id: str) -> str:
    """The name of the run of an assignment's notice."""
    return "notice-" + digest_of(assignment_id)


def patient_words(patient: PatientKey) -> str:
    """What a patient's key is the keyed digest of; an id means nothing without its issuer."""
    return f"{patient.issuer_of_patient_id.strip()}\x1f{patient.patient_id.strip()}"
