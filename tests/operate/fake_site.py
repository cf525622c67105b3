"""A stack as operators' commands see it, in memory."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from teleprefetch.errors import NodeUnavailableError
from teleprefetch.model import WarmReport
from teleprefetch.operate.site import Site
from teleprefetch.run_records import PastExecution, Run
from tests.builders import a_report, a_warmth
from tests.fakes import (
    MemoryAssignments,
    MemoryHistories,
    MemoryProgress,
    MemoryRuns,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STUDY = "1.2.3"


class FakeNodes:
    """What nodes hold, by node and study; a node without an entry does not answer."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, int]] = {}

    def frames_held(self, node: str, study_instance_uid: str) -> int:
        if node not in self.held:
            raise NodeUnavailableError(f"{node}: not in NODE_URLS")
        return self.held[node].get(study_instance_uid, 0)


class FakeSite:
    def __init__(self) -> None:
        self.runs = MemoryRuns()
        self.histories = MemoryHistories()
        self.assignments = MemoryAssignments()
        self.progress = MemoryProgress()
        self.node_http = FakeNodes()
        self.machines = {
            name: f"arn:aws:states:us-east-1:1:stateMachine:{name}"
            for name in ("import", "prefetch", "assignment")
        }
        self.settings = SimpleNamespace()

    @property
    def as_site(self) -> Site:
        return cast("Site", self)

    def prefetch(self, name: str = "study-1", **changed: Any) -> PastExecution:
        """An execution of a prefetch, with its input."""
        about = {
            "machine": "prefetch",
            "name": name,
            "arn": f"arn:aws:states:us-east-1:1:execution:prefetch:{name}",
            "status": "FAILED",
            "started_at": NOW - timedelta(hours=1),
            "stopped_at": NOW - timedelta(minutes=50),
            "redrive_status": "REDRIVABLE",
        }
        events = changed.pop("events", 10)
        execution = PastExecution.parse(about | changed)
        request = {
            "prefetch_id": name,
            "origin_id": "store",
            "study_instance_uid": STUDY,
            "reading_locations": ["home"],
            "cause": "assignment",
            "waiter": "a token",
            "assignment_id": "a-1",
        }
        self.histories.hold(execution, {"request": request}, events=events)
        return execution

    def record(self, run_id: str = "study-1", **changed: Any) -> Run:
        about = {
            "run_id": run_id,
            "kind": "prefetch",
            "at": NOW - timedelta(hours=1),
            "outcome": "failed",
            "origin_id": "store",
            "study_instance_uid": STUDY,
            "reading_location": "home",
        }
        run = Run.parse(about | changed)
        self.runs.record(run)
        return run

    def warmed(self, prefetch_id: str = "study-1", *, still_held: bool) -> WarmReport:
        """A node's last report, and whether the node holds it still."""
        report = a_report(a_warmth(STUDY, 5, 5), prefetch_id=prefetch_id)
        self.progress.report(report)
        self.node_http.held[report.node] = {STUDY: 5 if still_held else 0}
        return report
