"""A store, and the parts of a node around it, closed at the end of a test."""

import pytest

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.edge.watching.board import Board
from tests.edge.doors import Door, reading
from tests.edge.fakes_for_node import ORIGIN, FakeClock, FakeDocuments, FakeOrigin
from tests.edge.open_doorway import OpenDoorway


@pytest.fixture
def store_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def open_store(store_path):
    opened = []

    def open_one(*, limit_bytes=1 << 28, **options):
        store = Store(store_path, limit_bytes, **options)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def origin():
    return FakeOrigin()


@pytest.fixture
def documents():
    return FakeDocuments()


@pytest.fixture
def open_warmer(origin, documents, clock):
    pools = []

    def open_one(store, *, threads=4, verify_pixels=True):
        pool = FetchPool(threads, at_thread_end=store.close_thread)
        pools.append(pool)
        return Warmer(
            node="n1",
            store=store,
            pool=pool,
            retriever=Retriever(store, verify_pixels=verify_pixels),
            origins={ORIGIN: origin},
            documents=documents,
            clock=clock,
            report_every_s=0.0,
        )

    yield open_one
    for pool in pools:
        pool.close()


@pytest.fixture
def warmer(open_warmer, store):
    return open_warmer(store)


@pytest.fixture
def board():
    """Counters for a server of a test."""
    board = Board()
    yield board
    board.close()


@pytest.fixture
def serve_store(store, board):
    """Starts servers over the store; all are closed at the end, before the board is."""
    opened = []

    def start(*, is_ready=lambda: True, order=None, misses=None, board=None, **options):
        routes = Routes(store, is_ready=is_ready, order=order, misses=misses, board=board)
        options = {"doorway": OpenDoorway()} | options
        server = EdgeServer(
            ("127.0.0.1", 0), routes, at_thread_end=store.close_thread, board=board, **options
        )
        server.start()
        opened.append(server)
        return server

    yield start
    for server in opened:
        server.close()


@pytest.fixture
def open_door(tmp_path):
    """Opens real doorways; the first assignment of study 1.2.1 is reader-1's."""
    opened = []

    def open_one(**options):
        door = Door(tmp_path, **options)
        door.readings.put(reading())
        opened.append(door)
        return door

    yield open_one
    for door in opened:
        door.close()


@pytest.fixture
def door(open_door):
    return open_door()
