"""Tells the demo's view what a watch sees, in the words of the view."""

from datetime import UTC, datetime

from teleprefetch import runtime
from teleprefetch.assignment import Notice
from teleprefetch.domain.relevance import Ranking
from teleprefetch.domain.warmth import Proof, prove
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.local.demo_state import Fate, NodeProgress, PriorRow
from teleprefetch.local.demo_view import DemoView
from teleprefetch.model import AnyValue, ObjectPointer, Plan, RankedPrior, WarmReport
from teleprefetch.steps.plan_warm import plan_key


class DemoTelling:
    """A `Watcher` for one prefetch; it keeps the last report of each node."""

    def __init__(self, view: DemoView, prefetch_id: str) -> None:
        self._view = view
        self._prefetch_id = prefetch_id
        self._reports: dict[str, WarmReport] = {}
        self._shown = False

    @property
    def reports(self) -> tuple[WarmReport, ...]:
        """The last report of each node."""
        return tuple(self._reports.values())

    def event_seen(self, at: datetime, detail_type: str) -> None:
        """Hand on an event."""
        self._view.event_seen(at, detail_type)

    def machine_state(self, machine: str, execution: str, state: str) -> None:
        """Hand on an execution's state."""
        self._view.machine_state(machine=machine, execution=execution, state=state)

    def progress(self, report: WarmReport) -> None:
        """Hand on a node's report; the first one comes with the ranked priors."""
        if self._reports.get(report.node) == report:
            return
        self._reports[report.node] = report
        plan = self._plan()
        if plan is None:
            return
        if not self._shown:
            self._shown = True
            self._show_priors()
        planned = sum(series.estimated_bytes for series in plan.series)
        self._view.progress(
            NodeProgress(
                node=report.node,
                frames_warmed=report.frames_warmed,
                frames_planned=report.frames_planned,
                frames_verified=report.frames_verified,
                bytes_warmed=report.bytes_warmed,
                bytes_planned=planned,
            )
        )

    def notice(self, notice: Notice) -> None:
        """Hand on the notice."""
        self._view.notice(
            reason=notice.reason,
            released_at=notice.released_at,
            deadline=notice.deadline_at or notice.released_at,
            why=notice.why,
        )

    def warmed(self) -> None:
        """Show what became of each prior in the end."""
        for report in runtime.progress().reports(self._prefetch_id):
            self.progress(report)
        self._show_priors()

    def studies(self) -> frozenset[str]:
        """The assigned study and its priors, taken or left out: what its reader may read."""
        plan = self._plan()
        if plan is None:
            return frozenset()
        return frozenset(
            {plan.study_instance_uid, *(one.study_instance_uid for one in plan.priors)}
        )

    def proof(self) -> Proof:
        """What is proven in the end."""
        return prove(self._plan(), self.reports, failure="", now=datetime.now(UTC))

    def _show_priors(self) -> None:
        fates = _fates(self.proof())
        ranking = self._document("ranking.json", Ranking)
        if ranking is None:
            return
        self._view.priors(
            tuple(
                _row(prior, fates.get(prior.study.study_instance_uid, "left out"))
                for prior in ranking.priors
            )
        )

    def _plan(self) -> Plan | None:
        return self._document("plan.json", Plan)

    def _document(self, name: str, kind: type[AnyValue]) -> AnyValue | None:
        key = plan_key(self._prefetch_id).replace("plan.json", name)
        pointer = ObjectPointer(bucket=runtime.settings().documents_bucket, key=key)
        try:
            return runtime.documents().get(pointer, kind)
        except OriginUnavailableError:
            return None  # not written yet, or never


def _fates(proof: Proof) -> dict[str, Fate]:
    words: dict[str, Fate] = {"warm": "warm", "left out": "left out"}
    return {prior.study_instance_uid: words.get(prior.warm, "taken") for prior in proof.priors}


def _row(prior: RankedPrior, fate: Fate) -> PriorRow:
    return PriorRow(
        rank=prior.rank,
        study_date=prior.study.study_date,
        modality="/".join(prior.study.modalities_in_study),
        description=prior.study.study_description,
        score=prior.score,
        reason=prior.terms[0].reason if prior.terms else "",
        fate=fate,
    )
