"""Warms a node: takes one order after the other to its last report."""

from collections.abc import Callable, Mapping
from threading import Event

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.costs import Costs
from teleprefetch.edge.warming.order_run import OrderRun, Outcome, RunNeeds
from teleprefetch.edge.warming.order_trace import Traced, traced
from teleprefetch.edge.warming.traffic import Traffic
from teleprefetch.edge.warming.witness import Witness
from teleprefetch.edge.watching.tracing import Tracing
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Plan, WarmOrder, WarmReport
from teleprefetch.ports import Clock, Documents, Origin


class Warmer:
    """Everything an order needs; one for the whole node.

    Args:
        node: the node's name, for reports.
        store: where the bytes go.
        pool: fetches them.
        retriever: what the pool's threads do.
        origins: the archives by id.
        documents: where plans are.
        clock: the time, against `give_up_at`.
        witness: is told who may read, and what was warmed.
        costs: says what is left out to keep within caps.
        tracing: takes down how orders are carried out.
        make_ready: opens connections to the archives aside; called as soon as an order comes.
        monotonic_s: seconds of the pool's clock; those of `clock`, if not given.
        report_every_s: how often an order that gets on reports it.
    """

    def __init__(
        self,
        *,
        node: str,
        store: Store,
        pool: FetchPool,
        retriever: Retriever,
        origins: Mapping[str, Origin],
        documents: Documents,
        clock: Clock,
        witness: Witness | None = None,
        costs: Costs | None = None,
        tracing: Tracing | None = None,
        make_ready: Callable[[], None] = lambda: None,
        monotonic_s: Callable[[], float] | None = None,
        report_every_s: float = 1.0,
    ) -> None:
        own_s = monotonic_s or (lambda: clock().timestamp())
        self.traffic = Traffic(own_s)
        self._needs = RunNeeds(
            node=node,
            store=store,
            pool=pool,
            retriever=retriever,
            clock=clock,
            monotonic_s=own_s,
            traffic=self.traffic,
            report_every_s=report_every_s,
        )
        self._origins = origins
        self._documents = documents
        self._witness = witness
        self._costs = costs
        self._tracing = tracing
        self._make_ready = make_ready

    def plan(self, order: WarmOrder) -> Plan:
        """The plan of an order; who may read it is let in from now on.

        Raises:
            InvalidPayloadError: the plan names an origin that this node has not.
            OriginUnavailableError: the plan cannot be read (yet).
            CorruptPayloadError: the plan is damaged.
            NodeUnavailableError: who may read cannot be written down.
        """
        self._make_ready()
        plan = self._documents.get(order.plan, Plan)
        if plan.origin_id not in self._origins:
            raise InvalidPayloadError("plan.origin_id: not among this node's origins")
        if self._witness is not None:
            self._witness.begins(order, plan)
        return plan

    def run(
        self,
        order: WarmOrder,
        *,
        tell: Callable[[WarmReport], None],
        stop: Event,
        plan: Plan | None = None,
        waiting: Callable[[], int] = lambda: 0,
        is_in_vain: bool = False,
    ) -> Outcome | None:
        """Carry an order out; None if the node stopped first. Raises as `plan` does.

        Args:
            order: what to warm.
            tell: takes reports while it goes on.
            stop: set when the node stops.
            plan: the order's, if it was read already.
            waiting: how many orders wait until others end.
            is_in_vain: whether nothing is fetched, but only counted and told: too many are ahead.
        """
        if plan is None:
            plan = self.plan(order)
        left_out = self._costs.left_out(plan) if self._costs and not is_in_vain else None
        with traced(self._tracing, order, plan) as trace:
            run = OrderRun(
                self._needs,
                order,
                plan,
                source=Source(plan.origin_id, self._origins[plan.origin_id]),
                tell=tell,
                stop=stop,
                waiting=waiting,
                is_in_vain=is_in_vain,
                left_out=left_out,
                trace=trace,
            )
            outcome = run.outcome()
            _tell(trace, outcome)
        if self._witness is not None:
            self._witness.warmed(order, plan, run.series)
        return outcome


def _tell(trace: Traced, outcome: Outcome | None) -> None:
    failure = outcome.failure if outcome else None
    trace.ended(
        outcome.report if outcome else None, error=type(failure).__name__ if failure else ""
    )
