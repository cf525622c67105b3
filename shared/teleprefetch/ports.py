"""What the steps and the node need of the outside world; each has an adapter and a fake."""

from datetime import datetime
from typing import Any, Protocol

from teleprefetch.assignment import Assignment, Notice
from teleprefetch.model import (
    AnyValue,
    Frame,
    FrameEntry,
    ObjectPointer,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
    WarmReport,
)
from teleprefetch.prefetch import EndedImportJob, Outcome
from teleprefetch.quotas import Ask, Lease
from teleprefetch.run_records import ExecutionStatus, Machine, PastExecution, Run, RunFilter


class Origin(Protocol):
    """An archive that is searched and read; every method may raise the origin errors.

    AccessDeniedError, OriginThrottledError, OriginUnavailableError and CorruptPayloadError are
    common to all methods and not repeated below.
    """

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """The study with all its series; only searches are made.

        Raises:
            StudyNotFoundError: the archive does not hold it.
        """

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """Every study of the patient with its series, newest first; empty if there is none.

        Answers that are not this patient's by the archive's own words are left out: an archive
        may match more loosely than it was asked to.
        """

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """The series' metadata and its frames.

        Raises:
            StudyNotFoundError: the archive does not hold the series.
        """

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """The frame's bytes as stored, never transcoded.

        Raises:
            StudyNotFoundError: the archive does not hold the frame.
        """


class Documents(Protocol):
    """Where plans and other documents live that are too big, or too personal, for a state."""

    def put(self, key: str, document: AnyValue) -> ObjectPointer:
        """Write a document; the pointer to it."""

    def get(self, pointer: ObjectPointer, kind: type[AnyValue]) -> AnyValue:
        """Read a document.

        Raises:
            OriginUnavailableError: it is not there, or not yet.
            CorruptPayloadError: it is cut short or of another kind.
        """

    def get_bytes(self, pointer: ObjectPointer) -> bytes:
        """Read an object that somebody else wrote; raises as `get` does when it is missing."""


class Tasks(Protocol):
    """The waiting tasks of Step Functions, answered by token."""

    def succeed(self, task_token: str, output: dict[str, Any]) -> bool:
        """Answer a task; False if nobody waits for the token any more."""

    def fail(self, task_token: str, *, error: str, cause: str) -> bool:
        """Fail a task; False if nobody waits for the token any more."""

    def heartbeat(self, task_token: str) -> bool:
        """Say that work goes on; False if nobody waits for the token any more."""


class Executions(Protocol):
    """Starts executions of one machine."""

    def start(self, name: str, state: dict[str, Any]) -> bool:
        """Start an execution; False if one of that name ended, or runs with another input.

        Raises:
            OriginThrottledError: Step Functions asks to slow down.
        """


class Orders(Protocol):
    """One node's queue of orders, from the node's side."""

    def receive(self, *, wait_s: float) -> "tuple[ReceivedOrder, ...]":
        """The next orders, invisible to others until their visibility ends; may be empty."""

    def extend(self, receipt: str, *, visibility_s: int) -> None:
        """Keep an order invisible for that long from now."""

    def delete(self, receipt: str) -> None:
        """Take an order off the queue for good."""


class ReceivedOrder(Protocol):
    """An order as it came off the queue."""

    @property
    def body(self) -> str:
        """The message, JSON text."""

    @property
    def receipt(self) -> str:
        """What `extend` and `delete` need."""


class Progress(Protocol):
    """Where nodes report how far an order is."""

    def report(self, report: WarmReport) -> None:
        """Record a report; an older one never replaces a newer."""

    def reports(self, prefetch_id: str) -> tuple[WarmReport, ...]:
        """The last report of each node for a prefetch."""


class Events(Protocol):
    """The event bus."""

    def publish(self, detail_type: str, detail: dict[str, Any]) -> None:
        """Put one event on the bus.

        Raises:
            OriginUnavailableError: the bus did not take it.
        """


class Clock(Protocol):
    """The time."""

    def __call__(self) -> datetime:
        """Now, aware."""


class ImageSets(Protocol):
    """HealthImaging's image sets, which events and manifests name by id alone."""

    def study_of(self, image_set_id: str) -> str:
        """The StudyInstanceUID of what an image set holds at its latest version.

        Raises:
            StudyNotFoundError: there is no such image set any more.
            OriginUnavailableError: it is still being processed (409), or the service is down.
        """


class ImportJobs(Protocol):
    """A data store's import jobs."""

    def ended_since(self, since: datetime) -> tuple[EndedImportJob, ...]:
        """The jobs that ended at `since` or later; raises the errors common to origins."""


class Outcomes(Protocol):
    """How each import event and each prefetch ended."""

    def record(self, outcome: Outcome) -> Outcome:
        """The outcome that stands for the subject: this one, unless one stands already.

        Only `failed` gives way, since a replay may still succeed.
        """

    def outcome(self, subject: str) -> Outcome | None:
        """The outcome that stands, if any."""


class Assignments(Protocol):
    """Assignments and their notices."""

    def admit(self, assignment: Assignment, *, execution_id: str) -> str:
        """The execution that handles the assignment: this one, or the one that came first."""

    def admitted(self, assignment_id: str) -> Assignment | None:
        """An assignment as it was admitted first."""

    def claim_notice(self, notice: Notice, *, now: datetime) -> Notice | None:
        """The notice to publish, or None if it is published or another is about to.

        The first notice claimed is kept; a later caller that finds it unpublished, because its
        claimant died, gets that one, never a second.
        """

    def notice_published(self, assignment_id: str, *, at: datetime) -> None:
        """Say that the claimed notice is out."""

    def drop_claim(self, assignment_id: str) -> None:
        """Let another try at once: the claimed notice could not be published."""

    def notice(self, assignment_id: str) -> Notice | None:
        """The notice of an assignment, if it was released."""

    def late_warm(self, assignment_id: str, *, at: datetime) -> bool:
        """Whether `Study Warm` is to be sent now: True once, to the first, after the notice."""

    def drop_late_warm(self, assignment_id: str) -> None:
        """Let another send it: `Study Warm` could not be published."""


class Runs(Protocol):
    """The record of each run."""

    def record(self, run: Run) -> None:
        """Write down what is given of a run, beside what is recorded of it already.

        Of `at` the first word stands; of every other field that was given, the last.
        """

    def run(self, run_id: str) -> Run | None:
        """What is recorded of a run."""

    def find(self, wanted: RunFilter, *, limit: int) -> tuple[Run, ...]:
        """The runs that agree with a filter, newest first; a run just written may still lack."""


class Histories(Protocol):
    """The executions of the machines, as Step Functions remembers them for 90 days."""

    def ended_since(
        self, machine: Machine, status: ExecutionStatus, since: datetime
    ) -> tuple[PastExecution, ...]:
        """A machine's executions of a status that began at `since` or later, newest first."""

    def execution(self, machine: Machine, name: str) -> PastExecution | None:
        """An execution by name; None if it never was, or is forgotten."""

    def input_of(self, execution: PastExecution) -> dict[str, Any]:
        """What an execution was started with."""

    def events_of(self, execution: PastExecution) -> int:
        """How many events its history holds, at most 25,000."""

    def redrive(self, execution: PastExecution, *, client_token: str) -> None:
        """Let an execution go on where it failed.

        Raises:
            InvalidPayloadError: Step Functions does not redrive it; the message says what it said.
        """

    def start(self, machine: Machine, name: str, state: dict[str, Any]) -> bool:
        """Start an execution; False if there was one of that name."""


class LookupKeys(Protocol):
    """Digests under a key that never leaves its keeper: found again, but not read back."""

    def key_of(self, kind: str, words: str) -> str:
        """The keyed digest of words of a kind, the same each time."""


class Nodes(Protocol):
    """Which nodes are being emptied, by an operator's word."""

    def drained(self) -> frozenset[str]:
        """The nodes that are to get no orders."""

    def drain(self, node: str, *, by: str, reason: str, at: datetime) -> None:
        """Send a node no more orders."""

    def undrain(self, node: str) -> None:
        """Send a node orders again."""


class QuotaLedger(Protocol):
    """What all nodes of a data store share of its quotas, one state for each key.

    Every method may raise OriginThrottledError, OriginUnavailableError and AccessDeniedError.
    """

    def state(self, key: str) -> Lease:
        """The state as it is, without asking for anything."""

    def lease(self, key: str, ask: Ask) -> Lease:
        """Lease tokens of a window; never more over all callers than the asks' limits allow.

        The state is `domain.quota.leased` of the state before; a window that is over grants none.
        """

    def slow_down(self, key: str, *, window: int) -> Lease:
        """Say that the data store answered 429; the state is `domain.quota.slowed_down`."""
