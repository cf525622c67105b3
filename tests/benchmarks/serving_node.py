"""One process of a node that only serves, as `tests.benchmarks.serving` measures it.

`python -m tests.benchmarks.serving_node PORT STORE LOG`: the product's server over a store that
exists, with a token check and the access log on.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.dicomweb.routes import Routes
from teleprefetch.edge.http.server import EdgeServer
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import AccessDeniedError

TOKEN = "benchmark-" + "t" * 900  # as long as an access token is


class Tokens:
    """Verdicts by the digest of the token, each with its end: what a check costs once made."""

    def __init__(self) -> None:
        self._ends_s = {hashlib.sha256(TOKEN.encode()).digest(): time.time() + 3600}

    def __call__(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        ends_s = self._ends_s.get(hashlib.sha256(token.encode()).digest(), 0.0)
        if scheme.lower() != "bearer" or ends_s < time.time():
            raise AccessDeniedError("token: unknown")


def main() -> None:
    port, store_path, log_path = sys.argv[1:]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store = Store(Path(store_path), 1 << 40)
    server = EdgeServer(
        ("127.0.0.1", int(port)),
        Routes(store, is_ready=lambda: True),
        at_thread_end=store.close_thread,
        authorize=Tokens(),
        is_shared=True,
        access_log=log,
    )
    server.start()
    ended.wait()
    server.close()
    store.close()


if __name__ == "__main__":
    main()
