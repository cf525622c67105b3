"""A process that warms series for ever, several at a time, until it is killed.

Each frame says which it is. What was reported as verified is written to a log before anything
else happens: those frames must be there after the kill.
"""

import os
import sys
import threading
from pathlib import Path

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.rows import frame_name
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.store.writing import Grouping
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, entry, metadata, pointer

STUDIES = 3
COUNT = 60


def bytes_of(study, number):
    """A frame that tells its place in every eight bytes, of a size of its own."""
    return f"{study:03d}.{number:04d}".encode() * (1 + number * 37 % 900)


def write(store, study, log):
    series = pointer(study)
    if store.metadata(ORIGIN, series) is None:
        store.put_metadata(ORIGIN, metadata(series, COUNT, with_checksums=False))
    told = set()
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, COUNT + 1):
            one = entry(series, number)
            if writer.holds(frame_name(one)):
                continue
            os.write(log, f"fetched {study} {number}\n".encode())
            frame = Frame(content=bytes_of(study, number), transfer_syntax_uid=HTJ2K_LOSSLESS)
            writer.append(one, frame)
            for sop, _ in store.verify(ORIGIN, series) - told:
                os.write(log, f"proven {study} {sop.rsplit('.', 1)[1]}\n".encode())
                told.add((sop, 1))
    for sop, _ in store.verify(ORIGIN, series) - told:
        os.write(log, f"proven {study} {sop.rsplit('.', 1)[1]}\n".encode())
    store.close_thread()


def main(path, log_path):
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    store = Store(Path(path), 1 << 28, grouping=Grouping(frames=7, seconds=0.01))
    os.write(log, b"opened\n")
    threads = [
        threading.Thread(target=write, args=(store, study, log)) for study in range(1, STUDIES + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    os.write(log, b"done\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
