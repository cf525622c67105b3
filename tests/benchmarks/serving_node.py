"""One process of a node that only serves, as `tests.benchmarks.serving` measures it.

`python -m tests.benchmarks.serving_node PORT FOLDER NUMBER`: the product's server over the store
that is there, with the product's doorway: tokens of an issuer on loopback, the shipped policies, a
reading that is assigned to the token's subject, the audit on disk, and the access log.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from teleprefetch.edge.access.opening import Access, lane_of
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.watching.board import Board
from teleprefetch.settings import NodeSettings, from_environment


def main() -> None:
    port, folder, number = sys.argv[1:]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    log = os.open(f"{folder}/access.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    settings = from_environment(NodeSettings, os.environ)
    board = Board()
    store = Store(Path(settings.store_path), settings.store_bytes)
    access = Access(settings, lane=lane_of(int(number)), board=board)
    server = EdgeServer(
        ("127.0.0.1", int(port)),
        Routes(store, is_ready=lambda: True),
        at_thread_end=store.close_thread,
        doorway=access.doorway,
        board=board,
        is_shared=True,
        access_log=log,
    )
    server.start()
    ended.wait()
    server.close()
    access.close()
    store.close()
    board.close()


if __name__ == "__main__":
    main()
