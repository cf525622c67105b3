"""The pipeline's ports in memory; each passes the contract suite of its adapter."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from teleprefetch.assignment import Assignment, Notice
from teleprefetch.errors import (
    CorruptPayloadError,
    InvalidPayloadError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import AnyValue, ObjectPointer, WarmReport
from teleprefetch.prefetch import Outcome


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
        self.admitted: dict[str, str] = {}
        self.notices: dict[str, Notice] = {}
        self.claimed_until: dict[str, datetime] = {}
        self.published: dict[str, datetime] = {}

    def admit(self, assignment: Assignment, *, execution_id: str) -> str:
        return self.admitted.setdefault(assignment.assignment_id, execution_id)

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

    def notice(self, assignment_id: str) -> Notice | None:
        return self.notices.get(assignment_id)


class FakeImageSets:
    def __init__(self, studies: Mapping[str, str]) -> None:
        self.studies = studies

    def study_of(self, image_set_id: str) -> str:
        try:
            return self.studies[image_set_id]
        except KeyError:
            raise StudyNotFoundError("image set: not there") from None
