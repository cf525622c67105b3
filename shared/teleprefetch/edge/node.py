"""A cache node: store, fetching threads, worker and server, started and stopped together."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from teleprefetch.edge.fetching import FetchPool
from teleprefetch.edge.retrieving import Retriever
from teleprefetch.edge.routes import Routes
from teleprefetch.edge.server import Authorize, EdgeServer, loopback_only
from teleprefetch.edge.store import Store
from teleprefetch.edge.warming import Warmer
from teleprefetch.edge.worker import Worker
from teleprefetch.ports import Clock, Documents, Orders, Origin, Progress, Tasks
from teleprefetch.settings import NodeSettings

_LOG: Final = logging.getLogger(__name__)


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class Node:
    """One node by its settings; it answers and takes orders once started.

    Raises:
        NodeUnavailableError: the store cannot be opened.
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
    ) -> None:
        self.store = Store(Path(settings.store_path), settings.store_bytes)
        self._server = EdgeServer(
            (settings.host, settings.port),
            Routes(self.store, is_ready=lambda: self._worker.is_running),
            at_thread_end=self.store.close_thread,
            authorize=authorize,
        )
        self._pool = FetchPool(settings.fetch_concurrency, at_thread_end=self.store.close_thread)
        warmer = Warmer(
            node=settings.node,
            store=self.store,
            pool=self._pool,
            retriever=Retriever(self.store, verify_pixels=settings.verify_pixels),
            origins=origins,
            documents=documents,
            clock=clock,
        )
        self._worker = Worker(
            node=settings.node,
            orders=orders,
            tasks=tasks,
            progress=progress,
            warmer=warmer,
            store=self.store,
            clock=clock,
            heartbeat_s=settings.heartbeat_s,
            visibility_s=settings.visibility_s,
        )

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._server.port

    def start(self) -> None:
        """Begin to take orders and to answer."""
        self._worker.start()
        self._server.start()

    def stop(self) -> None:
        """Give back what is under way, publish what came, and end."""
        self._worker.stop()
        self._server.close()
        self._pool.close()
        self.store.close()
        _LOG.info("the node has stopped")
