"""A cache node: store, fetching threads, worker and servers, started and stopped together."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from teleprefetch.edge.access.opening import Access, lane_of, open_readings
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.names import AsReader
from teleprefetch.edge.archives.pacing import Pace
from teleprefetch.edge.archives.reading import READER_RETRIES, ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.archives.shared_quotas import SharedQuotas
from teleprefetch.edge.archives.traced import TracedReads
from teleprefetch.edge.audit.opening import Audit, audit_path
from teleprefetch.edge.serving import Serving, now, open_store, recent_orders_path
from teleprefetch.edge.siblings import Siblings
from teleprefetch.edge.warming.costs import Costs
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.edge.warming.witness import Witness
from teleprefetch.edge.warming.worker import Worker
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.emf import MetricsLog
from teleprefetch.edge.watching.lanes import WARMING, tell_audit
from teleprefetch.edge.watching.measures import Measures, Sources
from teleprefetch.edge.watching.recent import RecentOrders
from teleprefetch.edge.watching.tracing import Tracing
from teleprefetch.ports import Clock, Documents, Orders, Origin, Progress, QuotaLedger, Tasks
from teleprefetch.settings import NodeSettings

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 0.2
_WORKER_LANE: Final = "worker"


class Node:
    """One node by its settings; it answers and takes orders once started.

    Args:
        settings: the node's.
        origins: the archives that orders are warmed from.
        orders: the node's queue.
        tasks: who waits for orders.
        progress: where reports go.
        documents: where plans are.
        clock: the time.
        reading_origins: the same archives for what a reader waits for, with little patience;
            None uses `origins`.
        quota_ledger: what all nodes share of the archives' quotas; each call of an origin is then
            one attempt, and the node tries again. None neither limits nor tries again.
        pace: finds out how much to ask for at once; one of its own, if not given.
        as_reader: gives archives that are asked in readers' names.
        make_ready: opens so many connections to the archives aside.
        tracing: takes down how orders are carried out and what readers wait for; closed with the
            node.

    Raises:
        InvalidPayloadError: a setting cannot be used; the message names it.
        NodeUnavailableError: the store or the audit cannot be opened, or the port not be listened
            on.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        origins: Mapping[str, Origin],
        orders: Orders,
        tasks: Tasks,
        progress: Progress,
        documents: Documents,
        clock: Clock = now,
        reading_origins: Mapping[str, Origin] | None = None,
        quota_ledger: QuotaLedger | None = None,
        pace: Pace | None = None,
        as_reader: AsReader = lambda _origin_id, _bearer: None,
        make_ready: Callable[[int], None] = lambda _connections: None,
        tracing: Tracing | None = None,
    ) -> None:
        pace = pace or Pace(most=settings.fetch_concurrency)
        with ExitStack() as opening:
            if tracing:
                opening.callback(tracing.close)
            self.store = open_store(settings)
            opening.callback(self.store.close)
            self._board = Board(settings.server_processes)
            opening.callback(self._board.close)
            self._quotas = self._shared_quotas(settings, quota_ledger)
            self._pool = FetchPool(
                settings.fetch_concurrency,
                limit=lambda: pace.limit,
                at_thread_end=self.store.close_thread,
                gate=self._quotas.gate if self._quotas else None,
                patience_s=settings.origin_patience_s if self._quotas else 0.0,
            )
            opening.callback(self._pool.close)
            access = Access(settings, lane=lane_of(0), board=self._board)
            opening.callback(access.close)
            self._audit = Audit(settings, _WORKER_LANE)
            opening.callback(self._audit.close)
            readings = open_readings(settings)  # its own connection: no answer waits for a commit
            opening.callback(readings.close)
            retriever = Retriever(self.store, verify_pixels=settings.verify_pixels, pace=pace)
            reads = ReadThrough(
                self.store,
                pool=self._pool,
                retriever=retriever,
                origins=self._for_readers(origins if reading_origins is None else reading_origins),
                as_reader=partial(self._asked_as_reader, as_reader),
            )
            self._serving = Serving(
                settings,
                store=self.store,
                board=self._board,
                misses=TracedReads(reads, tracing) if tracing else reads,
                doorway=access.doorway,
                clock=clock,
            )
            self._opened = opening.pop_all()
        witness = Witness(readings, self._audit.log, self.store)
        self._siblings = Siblings(settings, port=self._serving.port, board=self._board)
        warmer = Warmer(
            node=settings.node,
            store=self.store,
            pool=self._pool,
            retriever=retriever,
            origins=origins,
            documents=documents,
            clock=clock,
            witness=witness,
            costs=Costs(
                study_cap_usd=settings.study_cost_cap_usd,
                daily_cap_usd=settings.daily_cost_cap_usd,
                ledger=quota_ledger,
                clock=clock,
            )
            if quota_ledger
            else None,
            tracing=tracing,
            make_ready=lambda: make_ready(pace.limit),
            monotonic_s=time.monotonic,
        )
        self._worker = Worker(
            node=settings.node,
            orders=orders,
            tasks=tasks,
            progress=RecentOrders(progress, recent_orders_path(settings)),
            warmer=warmer,
            store=self.store,
            clock=clock,
            heartbeat_s=settings.heartbeat_s,
            visibility_s=settings.visibility_s,
            witness=witness,
        )
        self._metrics = self._metrics_log(settings, clock)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="readiness")

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._serving.port

    def start(self) -> None:
        """Begin to take orders and to answer."""
        if self._quotas:
            self._quotas.start()
        self._worker.start()
        self._tell_readiness()
        self._serving.start()
        self._siblings.start()
        self._watcher.start()
        if self._metrics:
            self._metrics.start()

    def stop(self) -> None:
        """Give back what is under way, publish what came, and end; a second time does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._watcher.join()
        if self._metrics:
            self._metrics.close()
        self._board.put(Figure.READY, 0)
        self._worker.stop()
        if self._quotas:
            self._quotas.close()
        self._siblings.close()
        self._pool.close()
        self._serving.close()
        self._opened.close()
        _LOG.info("the node has stopped")

    def _shared_quotas(
        self, settings: NodeSettings, ledger: QuotaLedger | None
    ) -> SharedQuotas | None:
        if ledger is None:
            return None
        return SharedQuotas(
            settings,
            ledger,
            queued=lambda: self._pool.queued(),
            wake=lambda: self._pool.wake(),
            count=self.store.counters.add,
        )

    def _metrics_log(self, settings: NodeSettings, clock: Clock) -> MetricsLog | None:
        if not settings.metrics_namespace:
            return None
        quotas = self._quotas
        sources = Sources(
            board=self._board,
            used_bytes=self.store.used_bytes,
            limit_bytes=settings.store_bytes,
            folders=(Path(settings.store_path), audit_path(settings)),
            quota_share=quotas.gate.used_share if quotas else lambda _seconds: 0.0,
            orders_taken=lambda: self._worker.taken,
            orders_waiting=lambda: self._worker.waiting,
            fetches_waiting=lambda: sum(self._pool.queued().values()),
        )
        return MetricsLog(
            Measures(sources).take,
            namespace=settings.metrics_namespace,
            node=settings.node,
            clock=clock,
            at_thread_end=self.store.close_thread,
        )

    def _for_readers(self, origins: Mapping[str, Origin]) -> Mapping[str, Origin]:
        return self._quotas.for_readers(origins, READER_RETRIES) if self._quotas else origins

    def _asked_as_reader(self, as_reader: AsReader, origin_id: str, bearer: str) -> Origin | None:
        origin = as_reader(origin_id, bearer)
        if origin is None or self._quotas is None:
            return origin
        return self._quotas.for_reader(origin_id, origin, READER_RETRIES)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._tell_readiness()

    def _tell_readiness(self) -> None:
        self._board.put(Figure.READY, int(self._worker.is_running))
        tell_audit(self._board, self._audit, WARMING)
        throttled = self.store.counters.snapshot()["throttled_reads"]
        self._board.put(Figure.READS_THROTTLED, throttled)
