"""One more process of a node, which only serves: `edge.siblings` starts it."""

import os
import signal
import sys
import threading
from typing import Final

from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.edge.access.opening import Access, lane_of
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import READER_RETRIES, ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.archives.traced import TracedReads
from teleprefetch.edge.serving import Serving, open_store
from teleprefetch.edge.starting import begin
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.tracing import open_tracing

_LOOK_S: Final = 1.0


def main() -> None:
    """Serve until the input ends, or SIGTERM.

    Raises:
        InvalidPayloadError: a setting is missing or breaks its contract.
        NodeUnavailableError: the store cannot be opened.
    """
    settings, ended = begin()
    # a terminal sends it to all; the first one ends us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    slot, slots, descriptor = map(int, sys.argv[1:])
    board = Board(slots, slot=slot, descriptor=descriptor)
    store = open_store(settings)
    origins = open_origins(
        settings.origins,
        connections=settings.fetch_concurrency,
        retries=READER_RETRIES,
        open_fetcher=Transfers,
    )
    pool = FetchPool(settings.fetch_concurrency, at_thread_end=store.close_thread)
    retriever = Retriever(store, verify_pixels=settings.verify_pixels)
    reads = ReadThrough(
        store, pool=pool, retriever=retriever, origins=origins, as_reader=origins.as_reader
    )
    tracing = open_tracing(os.environ, node=settings.node)
    misses = TracedReads(reads, tracing) if tracing else reads
    access = Access(settings, lane=lane_of(slot), board=board)
    serving = Serving(settings, store=store, board=board, misses=misses, doorway=access.doorway)
    serving.start()
    threading.Thread(target=_wait_for_end, args=(ended,), name="input", daemon=True).start()
    while not ended.wait(_LOOK_S):
        board.put(Figure.READS_THROTTLED, store.counters.snapshot()["throttled_reads"])
    pool.close()
    serving.close()
    access.close()
    store.close()
    board.close()
    origins.close()
    if tracing:
        tracing.close()


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


if __name__ == "__main__":
    main()
