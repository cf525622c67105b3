"""One of several processes that share a small store: warms, reads, purges; checks each byte."""

import os
import random
import sys
import time
from pathlib import Path

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.edge.store.rows import frame_name
from teleprefetch.edge.store.store import Store
from teleprefetch.errors import NodeUnavailableError, StudyNotFoundError
from teleprefetch.model import Frame
from tests.edge.fakes_for_node import ORIGIN, entry, metadata, plan, pointer
from tests.edge.filling import read

STUDIES = 40
FRAMES = 6
LIMIT_BYTES = 16 << 20


def bytes_of(series, number):
    text = f"{series.study_instance_uid} {series.version_id} {number} ".encode()
    return text * (120_000 // len(text))


def write(store, series):
    store.put_metadata(ORIGIN, metadata(series, FRAMES, with_checksums=False))
    with store.writing(ORIGIN, series) as writer:
        for number in range(1, FRAMES + 1):
            if not writer.holds(frame_name(entry(series, number))):
                content = bytes_of(series, number)
                writer.append(
                    entry(series, number),
                    Frame(content=content, transfer_syntax_uid=HTJ2K_LOSSLESS),
                )


def look(store, chance):
    """How many frames of one study were right; a wrong byte ends the process."""
    right = 0
    for row in store.of_study(f"1.2.{chance.randrange(1, STUDIES + 1)}"):
        for name in store.frames(ORIGIN, row.series):
            frame = store.frame(row, name)
            if frame is None:
                continue
            try:
                found = read(frame)
            except FileNotFoundError:
                continue  # evicted since
            if found != bytes_of(row.series, int(name[0].rsplit(".", 1)[1])):
                sys.exit("a wrong byte")
            right += 1
    return right


def main(path, seed, seconds, is_reader):
    chance, ends = random.Random(seed), time.monotonic() + float(seconds)  # noqa: S311
    store = Store(Path(path), LIMIT_BYTES)
    counts = dict.fromkeys(("written", "right", "full", "refused", "purged"), 0)
    version = 1
    while time.monotonic() < ends:
        if is_reader == "True" or chance.random() < 0.5:
            counts["right"] += look(store, chance)
            continue
        study = chance.randrange(1, STUDIES + 1)
        version += chance.random() < 0.1
        series = pointer(study, version=version)
        try:
            if chance.random() < 0.05:
                store.purge(ORIGIN, series.image_set_id, below_version=version)
                counts["purged"] += 1
                continue
            if chance.random() < 0.3:
                one = plan(series, prefetch_id=f"p{seed}-{study}")
                store.want(one, until_s=time.time() + chance.random())
            write(store, series)
            counts["written"] += 1
        except StudyNotFoundError:
            counts["refused"] += 1
        except NodeUnavailableError as error:
            counts["full"] += 1
            if "store is full" not in str(error) and "another process" not in str(error):
                sys.exit(f"{error}")
    failures = store.counters.snapshot()["integrity_failures"]
    store.close()
    os.write(1, repr(counts | {"failures": failures}).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
