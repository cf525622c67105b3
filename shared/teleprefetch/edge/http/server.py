"""A node's server: one event loop on a thread of its own, with what its connections share."""

import asyncio
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

import uvloop

from teleprefetch.edge.access.entries import Doorway
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.connection import Connection
from teleprefetch.edge.http.counting import Counting
from teleprefetch.edge.http.crowd import Crowd, Limits
from teleprefetch.edge.http.origins import WebOrigins
from teleprefetch.edge.http.pools import Pool
from teleprefetch.edge.http.proxies import Proxies
from teleprefetch.edge.http.service import Service
from teleprefetch.edge.watching.access import AccessLog
from teleprefetch.edge.watching.board import Board
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_SWEEP_S: Final = 0.5
_LAST_SWEEP_S: Final = 0.05
_HANDSHAKE_S: Final = 5.0
# The loop must get the interpreter soon when a thread computes (the default is 5 ms).
_SWITCH_S: Final = 0.0005
_DEFAULT_LIMITS: Final = Limits()
_NO_PROXIES: Final = Proxies()
_NO_ORIGINS: Final = WebOrigins()


def tls_context(certificate_path: str, key_path: str) -> ssl.SSLContext:
    """A server's TLS, 1.2 or newer.

    Raises:
        InvalidPayloadError: a file is missing, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_path, key_path or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidPayloadError(
            "settings.tls_certificate_path, tls_key_path: unusable"
        ) from error
    return context


def listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Args:
        host: an address, or a name of one.
        port: the port.
        is_shared: other processes listen on the same port, and the system spreads connections.

    Raises:
        NodeUnavailableError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _prefer_cubic(listening)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise NodeUnavailableError("settings.host, port: cannot be listened on") from error
    return listening


def _prefer_cubic(listening: socket.socket) -> None:
    """Send by CUBIC where the system has it, whatever its default is.

    A reader is beside the node. BBR would pace every packet on a timer, which costs half as much
    again as all the rest of an answer.
    """
    with suppress(OSError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


class EdgeServer:
    """Answers on a port; it listens when made, and answers once started.

    Args:
        address: host and port; port 0 takes a free one.
        routes: what is answered.
        at_thread_end: called by each thread that used the store as it ends.
        doorway: decides about every request, and takes the records.
        tls: how to encrypt; None does not.
        board: counters shared with other processes; None counts for itself.
        limits: how long clients are waited for, and how many there may be.
        is_shared: other processes listen on the same port.
        access_log: the descriptor that gets a line for each answer; None writes none.
        proxies: who is believed about whom they ask for.
        origins: whose pages may read answers.
        threads: how many requests may work on the index, the disk or pixels at once.
        origin_threads: how many may wait for the archive at once.
        most_waiting: how many may wait for one of either; more are refused.
    """

    def __init__(
        self,
        address: tuple[str, int],
        routes: Routes,
        *,
        at_thread_end: Callable[[], None],
        doorway: Doorway,
        tls: ssl.SSLContext | None = None,
        board: Board | None = None,
        limits: Limits = _DEFAULT_LIMITS,
        is_shared: bool = False,
        access_log: int | None = None,
        proxies: Proxies = _NO_PROXIES,
        origins: WebOrigins = _NO_ORIGINS,
        threads: int = 4,
        origin_threads: int = 32,
        most_waiting: int = 1000,
    ) -> None:
        self._listening = listen(*address, is_shared=is_shared)
        self.port = int(self._listening.getsockname()[1])
        self._routes = routes
        self._at_thread_end = at_thread_end
        self._doorway = doorway
        self._tls = tls
        self._board = Board() if board is None else board
        self._owns_board = board is None
        self._limits = limits
        self._access_log = access_log
        self._proxies = proxies
        self._origins = origins
        self._threads = (threads, origin_threads)
        self._most_waiting = most_waiting
        self._loop = uvloop.new_event_loop()
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="http")

    def start(self) -> None:
        """Begin to answer."""
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """Take no more connections, let answers end for a while, and return when all is quiet.

        A second time does nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        else:
            self._loop.close()
            self._listening.close()
        if self._owns_board:
            self._board.close()

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._at_thread_end()
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self) -> None:
        with ExitStack() as stack:
            pools = [
                Pool(
                    name,
                    threads=threads,
                    most_waiting=self._most_waiting,
                    at_thread_end=self._at_thread_end,
                )
                for name, threads in zip(("serve", "fetch-for-reader"), self._threads, strict=True)
            ]
            crowd = Crowd(self._limits)
            service = Service(
                self._routes,
                doorway=self._doorway,
                pool=pools[0],
                origin_pool=pools[1],
                counting=Counting(self._board, AccessLog(self._access_log)),
                crowd=crowd,
                scheme="http" if self._tls is None else "https",
            )
            stack.callback(service.close)
            for pool in pools:
                stack.callback(pool.close)
            await self._answer_until_ended(service, crowd)

    async def _answer_until_ended(self, service: Service, crowd: Crowd) -> None:
        server = await self._loop.create_server(
            lambda: Connection(service, self._limits, self._proxies, self._origins),
            sock=self._listening,
            backlog=_BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_S,
        )
        self._started.set()
        while not self._ended.is_set():
            service.sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._ended.wait()
        server.close()
        crowd.dismiss()
        ends = self._loop.time() + self._limits.stop_s
        while len(crowd) and self._loop.time() < ends:
            await asyncio.sleep(_LAST_SWEEP_S)
            service.sweep()
        cut = crowd.cut()
        if cut:
            _LOG.warning("%d connections were cut", cut)
