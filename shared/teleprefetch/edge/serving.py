"""What each process of a node needs to answer: routes over the store, and a server."""

import gc
import resource
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from teleprefetch.edge.access.entries import Doorway
from teleprefetch.edge.dicomweb.misses import MissReader
from teleprefetch.edge.dicomweb.routes import Routes, Site
from teleprefetch.edge.http.origins import WebOrigins
from teleprefetch.edge.http.proxies import Proxies
from teleprefetch.edge.http.server import EdgeServer, tls_context
from teleprefetch.edge.pages.status_page import StatusPage
from teleprefetch.edge.pages.viewer import ViewerConfig, ViewerFiles
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.recent import read_recent
from teleprefetch.edge.watching.status import Served, StatusSource
from teleprefetch.ports import Clock
from teleprefetch.settings import NodeSettings

_STDERR: Final = 2
_RECENT_ORDERS: Final = "recent-orders.json"
_MOST_FILES: Final = 16_384


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def open_store(settings: NodeSettings) -> Store:
    """The node's store.

    Raises:
        NodeUnavailableError: it cannot be opened.
    """
    return Store(Path(settings.store_path), settings.store_bytes)


def recent_orders_path(settings: NodeSettings) -> Path:
    """The file that the last orders are remembered in, for all processes."""
    return Path(settings.store_path) / _RECENT_ORDERS


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: a connection takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Serving:
    """Routes and a server by the node's settings.

    Args:
        settings: the node's.
        store: what is served.
        board: the counters of all processes of the node.
        misses: reads through to the archive; None answers 404 for what is not held.
        doorway: decides about every request.
        clock: the time.

    Raises:
        InvalidPayloadError: the viewer's folder or the TLS files cannot be used.
        NodeUnavailableError: the port cannot be listened on.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        store: Store,
        board: Board,
        doorway: Doorway,
        misses: MissReader | None = None,
        clock: Clock = now,
    ) -> None:
        denies = settings.audit_on_full == "deny"
        routes = Routes(
            store,
            is_ready=lambda: board.is_ready and not (denies and board.is_audit_failing),
            troubles=lambda: _troubles(board),
            order=partial(_ranks, store),
            misses=misses,
            board=board,
            sites=_sites(settings, store, board, clock),
        )
        self._server = EdgeServer(
            (settings.host, settings.port),
            routes,
            at_thread_end=store.close_thread,
            doorway=doorway,
            tls=_tls(settings),
            board=board,
            is_shared=settings.server_processes > 1,
            access_log=_STDERR,
            proxies=Proxies(settings.trusted_proxies),
            origins=WebOrigins(settings.viewer_origins),
        )

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._server.port

    def start(self) -> None:
        """Begin to answer.

        What is there by now stays to the end: the collector need not look at it while a reader
        waits.
        """
        gc.collect()
        gc.freeze()
        self._server.start()

    def close(self) -> None:
        """Let answers end, and stop."""
        self._server.close()


def _ranks(store: Store, study_instance_uids: Collection[str]) -> Mapping[str, int]:
    return store.ranks(*study_instance_uids)


def _tls(settings: NodeSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate_path:
        return None
    return tls_context(settings.tls_certificate_path, settings.tls_key_path)


def _sites(settings: NodeSettings, store: Store, board: Board, clock: Clock) -> list[Site]:
    source = StatusSource(
        node=settings.node,
        store=store,
        limit_bytes=settings.store_bytes,
        served=partial(_served, board),
        recent=partial(read_recent, recent_orders_path(settings)),
        takes_orders=lambda: board.is_ready,
        clock=clock,
    )
    sites: list[Site] = [StatusPage(source, shows_uid_endings=True)]
    if settings.viewer_path:
        config = ViewerConfig(login=settings.viewer_login)
        sites.append(ViewerFiles(Path(settings.viewer_path), config=config))
    return sites


def _troubles(board: Board) -> list[str]:
    troubles = [] if board.is_ready else ["node: takes no orders"]
    if board.is_audit_failing:
        troubles.append("audit: cannot be written")
    return troubles


def _served(board: Board) -> Served:
    return Served(hits=board.total(Figure.CONTENT_HITS), misses=board.total(Figure.CONTENT_MISSES))
