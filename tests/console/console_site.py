"""A stack as the console sees it: in memory, with queues and documents on moto."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import boto3

from teleprefetch.adapters.node_http import NodeAnswer
from teleprefetch.assignment import Notice
from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import PatientKey
from teleprefetch.operate.site import Site
from teleprefetch.ports import ImportJobs, Origin
from teleprefetch.run_records import PastExecution, Run, notice_run_id, patient_words, warm_run_id
from teleprefetch.settings import PipelineSettings, from_environment
from teleprefetch.steps.plan_warm import plan_key
from teleprefetch.steps.release_assignment import Desk
from tests.builders import (
    PIPELINE_ENVIRONMENT,
    a_plan,
    a_planned_prior,
    a_report,
    a_warmth,
)
from tests.fake_origin import FakeOrigin
from tests.fakes import (
    MemoryAssignments,
    MemoryDocuments,
    MemoryEvents,
    MemoryHistories,
    MemoryLookupKeys,
    MemoryNodes,
    MemoryOutcomes,
    MemoryProgress,
    MemoryRuns,
)

STUDY, PRIOR = "1.2.3", "1.2.4"
FAILED = "1.2.840.113619.2.55.3.604688119.971.1448957243.467"
WAITING = "1.2.840.113619.2.55.3.604688119.971.1448957244.900"


class FakeNodeHttp:
    """Nodes that answer as a test says; `status` is what `/status.json` holds."""

    def __init__(self) -> None:
        self.known = frozenset({"node-a", "node-b"})
        self.status: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, int]] = {}

    def ask(self, node: str, path: str) -> NodeAnswer:
        if node not in self.status:
            raise NodeUnavailableError(f"{node}: ConnectTimeoutError")
        document = self.status[node] if path == "/status.json" else None
        return NodeAnswer(200, document, datetime.now(UTC))

    def frames_held(self, node: str, study_instance_uid: str) -> int:
        if node not in self.held:
            raise NodeUnavailableError(f"{node}: ConnectTimeoutError")
        return self.held[node].get(study_instance_uid, 0)


@dataclass
class ConsoleSite:
    runs: Any = field(default_factory=MemoryRuns)
    histories: MemoryHistories = field(default_factory=MemoryHistories)
    assignments: MemoryAssignments = field(default_factory=MemoryAssignments)
    progress: MemoryProgress = field(default_factory=MemoryProgress)
    documents: MemoryDocuments = field(default_factory=MemoryDocuments)
    nodes: MemoryNodes = field(default_factory=MemoryNodes)
    node_http: FakeNodeHttp = field(default_factory=FakeNodeHttp)
    outcomes: MemoryOutcomes = field(default_factory=MemoryOutcomes)
    events: MemoryEvents = field(default_factory=MemoryEvents)
    origins: dict[str, Origin] = field(default_factory=lambda: {"archive": FakeOrigin()})
    import_jobs: dict[str, ImportJobs] = field(default_factory=dict)
    image_set_changes: dict[str, Any] = field(default_factory=dict)
    lookup_keys: MemoryLookupKeys = field(default_factory=MemoryLookupKeys)

    def __post_init__(self) -> None:
        self.machines = {
            name: f"arn:aws:states:us-east-1:1:stateMachine:{name}"
            for name in ("import", "prefetch", "assignment")
        }
        self.use(**PIPELINE_ENVIRONMENT)

    def use(self, **changed: str) -> None:
        """Settings of two nodes at one place, whose queues are there."""
        sqs = boto3.client("sqs", region_name="us-east-1")
        urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("a", "b")}
        routing = (
            f'{{"nodes": {{"node-a": "{urls["a"]}", "node-b": "{urls["b"]}"}},'
            ' "locations": {"home": ["node-a", "node-b"], "coast": ["node-b"]}}'
        )
        given = PIPELINE_ENVIRONMENT | {"ROUTING": routing} | changed
        self.settings = from_environment(PipelineSettings, given | {"ROUTING": routing})

    @property
    def as_site(self) -> Site:
        return cast("Site", self)

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

    def record(self, run_id: str, **about: Any) -> Run:
        run = Run.parse({"run_id": run_id, "kind": "prefetch", "outcome": "warm"} | about)
        self.runs.record(run)
        return run

    def execution(self, name: str, at: datetime, **changed: Any) -> PastExecution:
        """A failed prefetch that can be redriven."""
        about = {
            "machine": "prefetch",
            "name": name,
            "arn": f"arn:aws:states:us-east-1:1:execution:prefetch:{name}",
            "status": "FAILED",
            "started_at": at,
            "stopped_at": at + timedelta(minutes=1),
            "redrive_status": "REDRIVABLE",
        }
        execution = PastExecution.parse(about | changed)
        request = {
            "prefetch_id": name,
            "origin_id": "archive",
            "study_instance_uid": FAILED,
            "reading_locations": ["home"],
            "cause": "import",
        }
        self.histories.hold(execution, {"request": request})
        return execution


def busy_site(now: datetime) -> ConsoleSite:
    """One study that went well, one that failed, one whose notice waits, and one overdue."""
    site = ConsoleSite()
    _went_well(site, now - timedelta(hours=2))
    _failed(site, now - timedelta(hours=1))
    _waits(site, "a-2", "assigned-2", WAITING, now, left=timedelta(minutes=2), verified=60)
    _waits(site, "a-3", "assigned-3", "1.2.5", now, left=timedelta(minutes=-3), verified=2)
    site.record(
        "imp-1", kind="import", outcome="prefetching", at=now - timedelta(hours=2),
        counts={"studies": 3, "started": 2},
    )  # fmt: skip
    site.node_http.status["node-a"] = {
        "store": {"used_bytes": 3_100_000_000, "limit_bytes": 4_000_000_000, "studies": 41},
        "served": {"hit_rate": 0.982},
    }
    site.nodes.drain("node-b", by="nina", reason="disk", at=now)
    return site


def _went_well(site: ConsoleSite, at: datetime) -> None:
    patient = PatientKey(patient_id="P-1")
    about = {
        "study_instance_uid": STUDY,
        "reading_location": "home",
        "accession_key": site.lookup_keys.key_of("accession", "ACC-1"),
        "patient_key": site.lookup_keys.key_of("patient", patient_words(patient)),
    }
    ended = at + timedelta(seconds=21)
    site.record(
        "p-1", at=at, ended_at=ended, of="imp-1", assignment_id="a-1",
        counts={"frames_planned": 130, "frames_verified": 130}, **about,
    )  # fmt: skip
    site.record(
        warm_run_id("p-1", "node-a"), kind="warm", at=at, ended_at=ended, node="node-a", of="p-1",
        study_instance_uid=STUDY, counts={"frames_planned": 130, "frames_verified": 130},
    )  # fmt: skip
    site.record(
        notice_run_id("a-1"), kind="notice", at=at, ended_at=ended, of="p-1", assignment_id="a-1",
        reader="reader-1", deadline_at=at + timedelta(minutes=5), **about,
    )  # fmt: skip
    site.assignments.claim_notice(
        Notice.parse(
            {
                "assignment_id": "a-1", "prefetch_id": "p-1", "origin_id": "archive",
                "study_instance_uid": STUDY, "reading_location": "home", "reason": "warm",
                "why": "", "released_at": ended, "deadline_at": at + timedelta(minutes=5),
                "current": None, "priors": [],
            }
        ),
        now=ended,
    )  # fmt: skip
    reasons = ("same region CHEST +55", "same modality CT +20", "2 years old -3")
    priors = (
        a_planned_prior(reasons=reasons, score=72.4),
        a_planned_prior(study_instance_uid="1.2.6", rank=2, score=11, taken=False),
    )
    left_out = ({"study_instance_uid": "1.2.6", "reason": "below the floor"},)
    site.documents.put(plan_key("p-1"), a_plan(priors=priors, left_out=left_out))
    warmth = (a_warmth(STUDY, 120, 120), a_warmth(PRIOR, 10, 10))
    site.progress.report(a_report(*warmth, prefetch_id="p-1", node="node-a"))
    site.node_http.held["node-a"] = {STUDY: 120, PRIOR: 10}


def _failed(site: ConsoleSite, at: datetime) -> None:
    site.execution("p-2", at)
    site.record(
        "p-2", at=at, ended_at=at + timedelta(minutes=1), outcome="failed", of="imp-1",
        origin_id="archive", study_instance_uid=FAILED, reading_location="home",
        cause="OriginUnavailableError: archive: 503",
    )  # fmt: skip


def _waits(
    site: ConsoleSite,
    assignment_id: str,
    prefetch_id: str,
    study: str,
    now: datetime,
    *,
    left: timedelta,
    verified: int,
) -> None:
    at = now - timedelta(minutes=4)
    about = {"study_instance_uid": study, "reading_location": "home", "at": at}
    site.record(prefetch_id, outcome="warming", assignment_id=assignment_id, **about)
    site.record(
        notice_run_id(assignment_id), kind="notice", outcome="waiting", of=prefetch_id,
        assignment_id=assignment_id, reader="reader-1", priority="high", deadline_at=now + left,
        **about,
    )  # fmt: skip
    problems = ("1.2.4: 503 of the archive",) if left < timedelta(0) else ()
    site.progress.report(
        a_report(
            a_warmth(study, verified, 130, role="current"), prefetch_id=prefetch_id,
            node="node-a", state="warming", problems=problems, reported_at=now,
        )
    )  # fmt: skip
