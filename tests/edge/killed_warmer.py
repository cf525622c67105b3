"""A process that warms one series and writes down each frame it fetches: made to be killed."""

import os
import sys
import threading
from pathlib import Path

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.store.writing import Grouping
from teleprefetch.edge.warming.warmer import Warmer
from tests.edge.fakes_for_node import (
    ORIGIN,
    FakeClock,
    FakeDocuments,
    FakeOrigin,
    content,
    order,
    plan,
    pointer,
)

COUNT = 300


def bytes_of(number):
    """Frames of different sizes, each unlike the others."""
    return content(1) + number.to_bytes(4, "big") * (number * 37 % 9000)


def main(path, log_path):
    content(1)  # its first use in four threads at once was seen to make another codestream
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    origin, documents = FakeOrigin(), FakeDocuments()
    series = origin.hold(pointer(), COUNT, with_checksums=False)

    def fetched(entry):
        number = int(entry.sop_instance_uid.rsplit(".", 1)[1])
        os.write(log, f"{number}\n".encode())
        return bytes_of(number)

    origin.before_frame = fetched
    store = Store(Path(path), 1 << 28, grouping=Grouping(frames=8, seconds=0.01))
    pool = FetchPool(4, at_thread_end=store.close_thread)
    warmer = Warmer(
        node="n1",
        store=store,
        pool=pool,
        retriever=Retriever(store, verify_pixels=True),
        origins={ORIGIN: origin},
        documents=documents,
        clock=FakeClock(),
    )
    outcome = warmer.run(
        order(documents, plan(series)), tell=lambda _report: None, stop=threading.Event()
    )
    pool.close()
    store.close()
    os.close(log)
    print(outcome.report.model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
