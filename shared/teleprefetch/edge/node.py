"""A cache node: store, fetching threads, worker and servers, started and stopped together."""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.http.server import loopback_only
from teleprefetch.edge.http.service import Authorize
from teleprefetch.edge.serving import Serving, now, open_store, recent_orders_path
from teleprefetch.edge.siblings import Siblings
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.edge.warming.worker import Worker
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.recent import RecentOrders
from teleprefetch.errors import PrefetchError
from teleprefetch.ports import Clock, Documents, Orders, Origin, Progress, Tasks
from teleprefetch.settings import NodeSettings

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 0.2


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
        authorize: raises AccessDeniedError for requests that are refused.
        reading_origins: the same archives for what a reader waits for, with little patience;
            None uses `origins`.

    Raises:
        InvalidPayloadError: the viewer's folder or the TLS files cannot be used.
        NodeUnavailableError: the store cannot be opened, or the port not be listened on.
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
        authorize: Authorize = loopback_only,
        reading_origins: Mapping[str, Origin] | None = None,
    ) -> None:
        self.store = open_store(settings)
        self._board = Board(settings.server_processes)
        self._pool = FetchPool(settings.fetch_concurrency, at_thread_end=self.store.close_thread)
        retriever = Retriever(self.store, verify_pixels=settings.verify_pixels)
        try:
            self._serving = Serving(
                settings,
                store=self.store,
                board=self._board,
                misses=ReadThrough(
                    self.store,
                    pool=self._pool,
                    retriever=retriever,
                    origins=origins if reading_origins is None else reading_origins,
                ),
                authorize=authorize,
                clock=clock,
            )
        except PrefetchError:
            self._pool.close()
            self.store.close()
            self._board.close()
            raise
        self._siblings = Siblings(settings, port=self._serving.port, board=self._board)
        warmer = Warmer(
            node=settings.node,
            store=self.store,
            pool=self._pool,
            retriever=retriever,
            origins=origins,
            documents=documents,
            clock=clock,
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
        )
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="readiness")

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._serving.port

    def start(self) -> None:
        """Begin to take orders and to answer."""
        self._worker.start()
        self._tell_readiness()
        self._serving.start()
        self._siblings.start()
        self._watcher.start()

    def stop(self) -> None:
        """Give back what is under way, publish what came, and end."""
        self._ended.set()
        self._watcher.join()
        self._board.put(Figure.READY, 0)
        self._worker.stop()
        self._siblings.close()
        self._pool.close()
        self._serving.close()
        self.store.close()
        self._board.close()
        _LOG.info("the node has stopped")

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._tell_readiness()

    def _tell_readiness(self) -> None:
        self._board.put(Figure.READY, int(self._worker.is_running))
