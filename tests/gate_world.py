"""The gate with all that it depends on in memory and in virtual time, and faults to order."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from teleprefetch.assignment import prefetch_id_of_assignment
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
)
from teleprefetch.model import ObjectPointer, WarmReport
from teleprefetch.run_records import PastExecution
from teleprefetch.settings import Gate, GateRule, Routing
from teleprefetch.steps import (
    admit_assignment,
    await_warm,
    begin_warming,
    record_failure,
    record_outcome,
    release_assignment,
    sweep_assignments,
)
from teleprefetch.steps.plan_warm import plan_key
from teleprefetch.steps.release_assignment import Desk
from tests.asl_in_time import Execution, Machine, MachineTime
from tests.builders import a_plan, a_planned_prior, a_report, a_warmth
from tests.fakes import (
    MemoryAssignments,
    MemoryDocuments,
    MemoryEvents,
    MemoryHistories,
    MemoryOutcomes,
    MemoryProgress,
    MemoryRuns,
)

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FRAMES = 10
ROUTING = Routing(nodes={"node-a": "https://queue/a"}, locations={"home": ("node-a",)})
GATE = Gate(default_deadline_s=300, rules={"stat": GateRule(deadline_s=0)})
ERRORS = (OriginUnavailableError, OriginThrottledError, AccessDeniedError, RuntimeError)


@dataclass
class Faults:
    """What goes wrong for one assignment; counts are of calls that fail first."""

    admit: int = 0
    start: int = 0
    release: int = 0
    error: type[Exception] = OriginUnavailableError
    archive_fails: bool = False
    node_dies: bool = False
    ends_partial: bool = False
    plan_unreadable: bool = False
    progress_down: bool = False
    failure_event_lost: bool = False
    abort_after_s: float | None = None
    duplicates: int = 0


@dataclass
class Case:
    """One assignment, when its study is proven warm if nothing hinders, and what goes wrong."""

    number: int
    deadline_s: float = 60
    warm_after_s: float = 30
    priority: str = "high"
    faults: Faults = field(default_factory=Faults)

    @property
    def assignment_id(self) -> str:
        return f"a-{self.number}"

    @property
    def prefetch_id(self) -> str:
        return prefetch_id_of_assignment(self.assignment_id)

    @property
    def study(self) -> str:
        return f"1.2.{self.number + 1}"


class _Progress(MemoryProgress):
    def __init__(self) -> None:
        super().__init__()
        self.down: set[str] = set()

    def reports(self, prefetch_id: str) -> tuple[WarmReport, ...]:
        if prefetch_id in self.down:
            raise OriginUnavailableError("table: 503")
        return super().reports(prefetch_id)


class _Documents(MemoryDocuments):
    def __init__(self) -> None:
        super().__init__()
        self.torn: set[str] = set()

    def get(self, pointer: ObjectPointer, kind: Any) -> Any:
        if pointer.key in self.torn:
            raise CorruptPayloadError("Plan: cut short")
        return super().get(pointer, kind)


class GateWorld:
    """The assignment machine, prefetches as they may go, the rule on failures, the watchdog."""

    def __init__(self, cases: list[Case], *, seed: int = 0) -> None:
        self.time = MachineTime(START)
        self.random = random.Random(seed)  # noqa: S311 - jitter
        self.cases = {case.assignment_id: case for case in cases}
        self.proven: dict[str, dict[str, int]] = {}
        self.false_warm: list[str] = []
        self.assignments, self.events = MemoryAssignments(), MemoryEvents()
        self.progress, self.documents = _Progress(), _Documents()
        self.outcomes, self.runs = MemoryOutcomes(), MemoryRuns()
        self.started: dict[str, dict[str, Any]] = {}
        self.calls: dict[tuple[str, str], int] = {}
        publish = self.events.publish
        self.events.publish = lambda kind, detail: self._publish(publish, kind, detail)  # type: ignore[method-assign]
        self.machine = Machine(
            "assignment",
            self.time,
            {
                "AdmitAssignment": self._admit,
                "AwaitWarm": self._await,
                "ReleaseAssignment": self._release,
                "BeginWarming": self._begin,
            },
            self._on_failure,
            self.random,
        )
        for case in cases:
            self._assign(case)
        for minute in range(1, 20):
            self.time.after(60 * minute, self._sweep)

    @property
    def desk(self) -> Desk:
        return Desk(
            assignments=self.assignments,
            progress=self.progress,
            documents=self.documents,
            documents_bucket="documents",
            events=self.events,
            outcomes=self.outcomes,
            runs=self.runs,
        )

    def run(self) -> "GateWorld":
        self.time.run(until=START + timedelta(minutes=25))
        return self

    def released(self, case: Case) -> list[tuple[datetime, dict[str, Any]]]:
        return [
            (at, detail)
            for at, kind, detail in self._log
            if kind == "Assignment Released" and detail["assignment_id"] == case.assignment_id
        ]

    def late_warm(self, case: Case) -> int:
        return sum(
            kind == "Study Warm" and detail["assignment_id"] == case.assignment_id
            for _, kind, detail in self._log
        )

    @property
    def _log(self) -> list[tuple[datetime, str, dict[str, Any]]]:
        return self.__dict__.setdefault("log", [])

    def _publish(self, publish: Callable[..., None], kind: str, detail: dict[str, Any]) -> None:
        case = self.cases[detail["assignment_id"]]
        says_warm = kind == "Study Warm" or detail["reason"] == "warm"
        if says_warm and not self._is_proven(case):
            self.false_warm.append(case.assignment_id)
        publish(kind, detail)
        self._log.append((self.time.now, kind, detail))

    def _is_proven(self, case: Case) -> bool:
        proven = self.proven.get(case.prefetch_id, {})
        return all(proven.get(uid, 0) == FRAMES for uid in (case.study, f"{case.study}.1"))

    def _assign(self, case: Case) -> None:
        deadline_at = START + timedelta(seconds=case.deadline_s)
        event = {
            "source": "worklist",
            "detail-type": "Study Assigned",
            "time": START.isoformat(),
            "detail": {
                "schema_version": "1",
                "assignment_id": case.assignment_id,
                "origin_id": "store",
                "study_instance_uid": case.study,
                "reading_location": "home",
                "priority": case.priority,
                "deadline_at": deadline_at.isoformat(),
            },
        }
        if case.faults.plan_unreadable:
            self.documents.torn.add(plan_key(case.prefetch_id))
        if case.faults.progress_down:
            self.progress.down.add(case.prefetch_id)
        executions = [self.machine.start(event)]
        executions += [self.machine.start(event) for _ in range(case.faults.duplicates)]
        if case.faults.abort_after_s is not None:
            seconds = case.faults.abort_after_s
            self.time.after(seconds, lambda: self.machine.abort(executions[0]))

    def _case_of(self, payload: dict[str, Any]) -> Case:
        detail = payload.get("detail") or payload.get("event", {}).get("detail")
        detail = detail or payload.get("assignment")
        return self.cases[detail["assignment_id"]]

    def _fails(self, what: str, case: Case, times: int) -> None:
        count = self.calls[what, case.assignment_id] = (
            self.calls.get((what, case.assignment_id), 0) + 1
        )
        if count <= times:
            raise case.faults.error("said by the test")

    def _admit(self, payload: dict[str, Any]) -> Any:
        case = self._case_of(payload)
        self._fails("admit", case, case.faults.admit)
        return admit_assignment.run(
            payload,
            assignments=self.assignments,
            runs=self.runs,
            routing=ROUTING,
            gate=GATE,
            now=self.time.now,
        ).model_dump(mode="json")

    def _await(self, payload: dict[str, Any]) -> Any:
        case = self._case_of(payload)
        self._fails("start", case, case.faults.start)
        return await_warm.run(payload, executions=self)

    def _begin(self, payload: dict[str, Any]) -> Any:
        return begin_warming.run(payload, executions=self)

    def _release(self, payload: dict[str, Any]) -> Any:
        case = self._case_of(payload)
        self._fails("release", case, case.faults.release)
        return release_assignment.run(
            payload, desk=self.desk, gate=GATE, now=self.time.now
        ).model_dump(mode="json")

    def _on_failure(self, execution: Execution) -> None:
        """The rule on the machine's failure, unless its event is lost; it is tried again twice."""
        case = self._case_of(execution.given)
        if case.faults.failure_event_lost:
            return
        event = {
            "source": "aws.states",
            "detail": {
                "status": execution.status,
                "input": json.dumps(execution.given),
                "error": execution.error or None,
            },
        }

        def deliver(attempts_left: int = 2) -> None:
            try:
                self._fails("release", case, case.faults.release)
                release_assignment.run(event, desk=self.desk, gate=GATE, now=self.time.now)
            except Exception:  # noqa: BLE001 - Lambda tries again whatever it was
                if not attempts_left:
                    return  # to the dead-letter queue; the watchdog is next
                self.time.after(1, lambda: deliver(attempts_left - 1))

        self.time.after(0.2, deliver)

    def _sweep(self) -> None:
        histories = MemoryHistories()
        for execution in self.machine.executions:
            past = PastExecution(
                machine="assignment",
                name=execution.execution_id,
                arn=execution.execution_id,
                status=execution.status,  # type: ignore[arg-type]
                started_at=START,
            )
            histories.hold(past, execution.given)
        sweep_assignments.run(desk=self.desk, gate=GATE, histories=histories, now=self.time.now)

    # executions of the prefetch machine, and the tasks that wait

    def start(self, name: str, state: dict[str, Any]) -> bool:
        if name in self.started:
            return self.started[name] == state
        self.started[name] = state
        case = next(one for one in self.cases.values() if one.prefetch_id == name)
        self.time.after(1, lambda: self._plan(case))
        return True

    def succeed(self, task_token: str, output: dict[str, Any]) -> bool:
        return self.machine.answer(task_token, output)

    def fail(self, task_token: str, *, error: str, cause: str) -> bool:
        raise NotImplementedError

    def heartbeat(self, task_token: str) -> bool:
        raise NotImplementedError

    def _plan(self, case: Case) -> None:
        if case.faults.archive_fails:
            self._fail_prefetch(case)
            return
        prior = a_planned_prior(study_instance_uid=f"{case.study}.1")
        plan = a_plan(prefetch_id=case.prefetch_id, study_instance_uid=case.study, priors=(prior,))
        self.documents.put(plan_key(case.prefetch_id), plan)
        self._report(case, 3, 0)
        if not case.faults.node_dies:
            self.time.at(
                START + timedelta(seconds=case.warm_after_s), lambda: self._end_prefetch(case)
            )

    def _report(self, case: Case, current: int, prior: int) -> None:
        proven = self.proven[case.prefetch_id] = {case.study: current, f"{case.study}.1": prior}
        warmths = (
            a_warmth(case.study, current, FRAMES, role="current"),
            a_warmth(f"{case.study}.1", prior, FRAMES),
        )
        assert sum(proven.values()) == current + prior
        self.progress.report(
            a_report(*warmths, prefetch_id=case.prefetch_id, reported_at=self.time.now)
        )

    def _end_prefetch(self, case: Case) -> None:
        verified = FRAMES - 4 if case.faults.ends_partial else FRAMES
        self._report(case, FRAMES, verified)
        node = {
            "node": "node-a",
            "state": "partial" if case.faults.ends_partial else "warm",
            "prefetch_id": case.prefetch_id,
            "frames_planned": 2 * FRAMES,
            "frames_verified": FRAMES + verified,
        }
        state = self.started[case.prefetch_id] | {
            "candidates": {"candidates": {"bucket": "b", "key": "k"}, "others": 1},
            "nodes": [node],
        }
        record_outcome.run(state, desk=self.desk, tasks=self, now=self.time.now)

    def _fail_prefetch(self, case: Case) -> None:
        event = {
            "source": "aws.states",
            "detail": {
                "status": "FAILED",
                "error": "OriginUnavailableError",
                "cause": "search: 503",
                "input": json.dumps(self.started[case.prefetch_id]),
            },
        }
        if not case.faults.failure_event_lost:
            record_failure.run(
                event, outcomes=self.outcomes, runs=self.runs, tasks=self, now=self.time.now
            )
