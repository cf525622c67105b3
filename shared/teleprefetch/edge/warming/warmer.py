"""Warms a node: takes one order after the other to its last report."""

from collections.abc import Callable, Mapping
from threading import Event

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.order_run import OrderRun, Outcome, RunNeeds
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
        report_every_s: float = 1.0,
    ) -> None:
        self._needs = RunNeeds(
            node=node,
            store=store,
            pool=pool,
            retriever=retriever,
            clock=clock,
            report_every_s=report_every_s,
        )
        self._origins = origins
        self._documents = documents

    def run(
        self, order: WarmOrder, *, tell: Callable[[WarmReport], None], stop: Event
    ) -> Outcome | None:
        """Carry an order out; None if the node stopped first.

        Args:
            order: what to warm.
            tell: takes reports while it goes on.
            stop: set when the node stops.

        Raises:
            InvalidPayloadError: the plan names an origin that this node has not.
            OriginUnavailableError: the plan cannot be read (yet).
            CorruptPayloadError: the plan is damaged.
        """
        plan = self._documents.get(order.plan, Plan)
        if plan.origin_id not in self._origins:
            raise InvalidPayloadError("plan.origin_id: not among this node's origins")
        source = Source(plan.origin_id, self._origins[plan.origin_id])
        return OrderRun(self._needs, order, plan, source=source, tell=tell, stop=stop).outcome()
