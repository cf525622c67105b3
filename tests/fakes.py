"""The pipeline's ports in memory; each passes the contract suite of its adapter."""

import hmac
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from teleprefetch.assignment import Assignment, Notice
from teleprefetch.domain.quota import leased, slowed_down
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import AnyValue, ObjectPointer, WarmReport
from teleprefetch.prefetch import Outcome
from teleprefetch.quotas import Ask, Lease, QuotaState
from teleprefetch.run_records import ExecutionStatus, Machine, PastExecution, Run, RunFilter


class MemoryDocuments:
    def __init__(self, bucket: str = "documents") -> None:
        self.bucket = bucket
        self.objects: dict[tuple[str, str], bytes] = {}

    def put(self, key: str, document: AnyValue) -> ObjectPointer:
        self.objects[self.bucket, key] = document.model_dump_json().encode()
        return ObjectPointer(bucket=self.bucket, key=key)

    def get(self, pointer: ObjectPointer, kind: type[AnyValue]) -> AnyValue:
        try:
            return kind.parse_json(self.get_bytes(pointer), at=kind.__name__)
        except InvalidPayloadError as error:
            raise CorruptPayloadError(str(error)) from error

    def get_bytes(self, pointer: ObjectPointer) -> bytes:
        try:
            return self.objects[pointer.bucket, pointer.key]
        except KeyError:
            raise OriginUnavailableError("documents bucket: NoSuchKey") from None


class MemoryExecutions:
    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start(self, name: str, state: dict[str, Any]) -> bool:
        return self.started.setdefault(name, state) == state


class MemoryTasks:
    def __init__(self, *waiting: str) -> None:
        self.waiting = set(waiting)
        self.answers: dict[str, dict[str, Any]] = {}
        self.heartbeats: list[str] = []

    def succeed(self, task_token: str, output: dict[str, Any]) -> bool:
        return self._answer(task_token, output)

    def fail(self, task_token: str, *, error: str, cause: str) -> bool:
        return self._answer(task_token, {"error": error, "cause": cause})

    def heartbeat(self, task_token: str) -> bool:
        self.heartbeats.append(task_token)
        return task_token in self.waiting

    def _answer(self, task_token: str, answer: dict[str, Any]) -> bool:
        if task_token not in self.waiting:
            return False
        self.waiting.remove(task_token)
        self.answers[task_token] = answer
        return True


class MemoryEvents:
    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.is_down = False

    def publish(self, detail_type: str, detail: dict[str, Any]) -> None:
        if self.is_down:
            raise OriginUnavailableError("event bus: down")
        self.published.append((detail_type, detail))


class MemoryOutcomes:
    def __init__(self) -> None:
        self.standing: dict[str, Outcome] = {}

    def record(self, outcome: Outcome) -> Outcome:
        standing = self.standing.get(outcome.subject)
        if standing is None or standing.state == "failed":
            self.standing[outcome.subject] = outcome
        return self.standing[outcome.subject]

    def outcome(self, subject: str) -> Outcome | None:
        return self.standing.get(subject)


class MemoryProgress:
    def __init__(self) -> None:
        self.last: dict[tuple[str, str], WarmReport] = {}

    def report(self, report: WarmReport) -> None:
        key = (report.prefetch_id, report.node)
        if key not in self.last or self.last[key].reported_at <= report.reported_at:
            self.last[key] = report

    def reports(self, prefetch_id: str) -> tuple[WarmReport, ...]:
        return tuple(
            report for (about, _), report in sorted(self.last.items()) if about == prefetch_id
        )


class MemoryAssignments:
    CLAIM = timedelta(seconds=30)

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.documents: dict[str, Assignment] = {}
        self.notices: dict[str, Notice] = {}
        self.claimed_until: dict[str, datetime] = {}
        self.published: dict[str, datetime] = {}
        self.late: dict[str, datetime] = {}

    def admit(self, assignment: Assignment, *, execution_id: str) -> str:
        self.documents.setdefault(assignment.assignment_id, assignment)
        return self.holders.setdefault(assignment.assignment_id, execution_id)

    def admitted(self, assignment_id: str) -> Assignment | None:
        return self.documents.get(assignment_id)

    def claim_notice(self, notice: Notice, *, now: datetime) -> Notice | None:
        subject = notice.assignment_id
        if subject in self.notices and (
            subject in self.published or self.claimed_until[subject] >= now
        ):
            return None
        self.claimed_until[subject] = now + self.CLAIM
        return self.notices.setdefault(subject, notice)

    def notice_published(self, assignment_id: str, *, at: datetime) -> None:
        self.published[assignment_id] = at

    def drop_claim(self, assignment_id: str) -> None:
        self.claimed_until[assignment_id] = datetime.fromtimestamp(
            0, self.claimed_until[assignment_id].tzinfo
        )

    def late_warm(self, assignment_id: str, *, at: datetime) -> bool:
        if assignment_id not in self.published or assignment_id in self.late:
            return False
        self.late[assignment_id] = at
        return True

    def drop_late_warm(self, assignment_id: str) -> None:
        del self.late[assignment_id]

    def notice(self, assignment_id: str) -> Notice | None:
        return self.notices.get(assignment_id)


class MemoryRuns:
    def __init__(self) -> None:
        self.known: dict[str, Run] = {}

    def record(self, run: Run) -> None:
        given = {
            name: getattr(run, name)
            for name in run.model_fields_set
            if getattr(run, name) is not None
        }
        standing = self.known.get(run.run_id)
        if standing is None:
            self.known[run.run_id] = Run(**given)
        else:
            self.known[run.run_id] = standing.model_copy(update=given | {"at": standing.at})

    def run(self, run_id: str) -> Run | None:
        return self.known.get(run_id)

    def find(self, wanted: RunFilter, *, limit: int) -> tuple[Run, ...]:
        newest = sorted(self.known.values(), key=lambda run: run.at, reverse=True)
        return tuple(run for run in newest if wanted.admits(run))[:limit]


class MemoryHistories:
    """Executions that a test says there were; redrives and starts are kept."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], PastExecution] = {}
        self.inputs: dict[str, dict[str, Any]] = {}
        self.event_counts: dict[str, int] = {}
        self.redriven: list[str] = []
        self.refusal = ""

    def hold(self, execution: PastExecution, state: dict[str, Any], *, events: int = 10) -> None:
        self.known[execution.machine, execution.name] = execution
        self.inputs[execution.arn] = state
        self.event_counts[execution.arn] = events

    def ended_since(
        self, machine: Machine, status: ExecutionStatus, since: datetime
    ) -> tuple[PastExecution, ...]:
        found = [
            one
            for one in self.known.values()
            if (one.machine, one.status) == (machine, status) and one.started_at >= since
        ]
        return tuple(sorted(found, key=lambda one: one.started_at, reverse=True))

    def execution(self, machine: Machine, name: str) -> PastExecution | None:
        return self.known.get((machine, name))

    def input_of(self, execution: PastExecution) -> dict[str, Any]:
        return self.inputs[execution.arn]

    def events_of(self, execution: PastExecution) -> int:
        return self.event_counts[execution.arn]

    def redrive(self, execution: PastExecution, *, client_token: str) -> None:
        if self.refusal:
            raise InvalidPayloadError(f"redrive: {self.refusal}")
        self.redriven.append(execution.name)
        running = execution.model_copy(update={"status": "RUNNING", "stopped_at": None})
        self.known[execution.machine, execution.name] = running

    def start(self, machine: Machine, name: str, state: dict[str, Any]) -> bool:
        if (machine, name) in self.known:
            return False
        arn = f"arn:aws:states:us-east-1:1:execution:{machine}:{name}"
        self.hold(
            PastExecution(
                machine=machine,
                name=name,
                arn=arn,
                status="RUNNING",
                started_at=datetime.now(UTC),
            ),
            state,
        )
        return True


class MemoryLookupKeys:
    def __init__(self) -> None:
        self.is_down = False

    def key_of(self, kind: str, words: str) -> str:
        if self.is_down:
            raise AccessDeniedError("lookup key: AccessDeniedException")
        return hmac.digest(b"secret", f"{kind}\x1f{words}".encode(), "sha256").hex()[:40]


class MemoryNodes:
    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def drained(self) -> frozenset[str]:
        return frozenset(self.reasons)

    def drain(self, node: str, *, by: str, reason: str, at: datetime) -> None:
        self.reasons[node] = reason

    def undrain(self, node: str) -> None:
        self.reasons.pop(node, None)


class FakeImageSets:
    def __init__(self, studies: Mapping[str, str]) -> None:
        self.studies = studies

    def study_of(self, image_set_id: str) -> str:
        try:
            return self.studies[image_set_id]
        except KeyError:
            raise StudyNotFoundError("image set: not there") from None


class MemoryQuotaLedger:
    """All nodes of a test share one; `date_s` is the server's clock, and `is_down` cuts it off."""

    def __init__(self, date_s: Callable[[], float | None] = lambda: None) -> None:
        self.states: dict[str, QuotaState] = {}
        self.calls = 0
        self.is_down = False
        self._date_s = date_s
        self._lock = threading.Lock()

    def state(self, key: str) -> Lease:
        with self._lock:
            return self._answer(0, self.states.get(key, QuotaState()))

    def lease(self, key: str, ask: Ask) -> Lease:
        with self._lock:
            state, granted = leased(self.states.get(key, QuotaState()), ask)
            answer = self._answer(granted, state)
            self.states[key] = state
            return answer

    def slow_down(self, key: str, *, window: int) -> Lease:
        with self._lock:
            state = slowed_down(self.states.get(key, QuotaState()), window)
            answer = self._answer(0, state)
            self.states[key] = state
            return answer

    def _answer(self, granted: int, state: QuotaState) -> Lease:
        self.calls += 1
        if self.is_down:
            raise OriginUnavailableError("quota ledger: down")
        date_s = self._date_s()
        return Lease(granted, state, None if date_s is None else float(int(date_s)))
