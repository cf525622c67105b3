"""A store, and the parts of a node around it, closed at the end of a test."""

import pytest

from teleprefetch.edge.fetching import FetchPool
from teleprefetch.edge.retrieving import Retriever
from teleprefetch.edge.store import Store
from teleprefetch.edge.warming import Warmer
from tests.edge.fakes_for_node import ORIGIN, FakeClock, FakeDocuments, FakeOrigin


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
