"""A reader's cold miss beside a warm at full speed: `python -m tests.benchmarks.cold_miss --json`.

`ratio`: the 95th percentile of what a reader waits for a frame that the node does not hold while an
order is warmed at full speed, over the same on an idle node; medians of rounds in turn, one node,
one archive that takes 30 ms for each 200 kB frame. Both share this machine's cores, which a reader
on the wire would not notice.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord
from tests.benchmarks.spread import spread
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

FETCH_S: Final = 0.03
FRAMES_A_ROUND: Final = 60
THREADS: Final = 16


class Bench:
    """A node's parts over a made-up archive."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.documents = FakeOrigin(), FakeDocuments()
        frame = content(1) + bytes(200_000)

        def slow(_entry: object) -> bytes:
            time.sleep(FETCH_S)
            return frame

        self.origin.before_frame = slow
        self.store = Store(folder, 8 << 30)
        self.pool = FetchPool(THREADS, at_thread_end=self.store.close_thread)
        retriever = Retriever(self.store, verify_pixels=False)
        origins: dict[str, Any] = {ORIGIN: self.origin}
        self.warmer = Warmer(
            node="n1",
            store=self.store,
            pool=self.pool,
            retriever=retriever,
            origins=origins,
            documents=self.documents,
            clock=FakeClock(),
        )
        self.reading = ReadThrough(self.store, pool=self.pool, retriever=retriever, origins=origins)
        self._studies = itertools.count(1)
        self.origin.search_for_study = self._found

    def _found(self, study_instance_uid: str) -> StudyRecord:
        held = [one for one in self.origin.series if one.study_instance_uid == study_instance_uid]
        return StudyRecord(
            study_instance_uid=study_instance_uid,
            patient=PatientKey(patient_id="P1"),
            series=tuple(SeriesRecord(pointer=one) for one in held),
        )

    def held(self, frames: int) -> SeriesPointer:
        return self.origin.hold(pointer(next(self._studies)), frames, with_checksums=False)

    def p95_s(self) -> float:
        """Of misses one after another, in a study that was never opened."""
        series = self.held(FRAMES_A_ROUND)
        uid = series.series_instance_uid
        self.reading.metadata(series.study_instance_uid, uid)
        took = []
        for number in range(1, FRAMES_A_ROUND + 1):
            began_s = time.perf_counter()
            self.reading.frames(series.study_instance_uid, uid, f"{uid}.{number}", [1])
            took.append(time.perf_counter() - began_s)
        return statistics.quantiles(took, n=20)[18]

    def busy_p95_s(self) -> tuple[float, float]:
        """The same beside a warm order, and how many frames a second that has meanwhile."""
        stop = threading.Event()
        big = self.held(8_000)
        one = order(self.documents, plan(big), give_up_s=1e6)
        warming = threading.Thread(
            target=lambda: self.warmer.run(one, tell=lambda _report: None, stop=stop)
        )
        warming.start()
        while sum(self.origin.frame_calls.values()) < THREADS or not self.pool.queued():
            time.sleep(0.01)
        before, began_s = sum(self.origin.frame_calls.values()), time.perf_counter()
        found = self.p95_s()
        fetched = sum(self.origin.frame_calls.values()) - before - FRAMES_A_ROUND
        rate = fetched / (time.perf_counter() - began_s)
        stop.set()
        warming.join()
        return found, rate

    def close(self) -> None:
        self.pool.close()
        self.store.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cold_miss-") as folder:
        bench = Bench(Path(folder) / "store")
        bench.p95_s()
        rounds = [(bench.p95_s(), *bench.busy_p95_s()) for _ in range(options.rounds)]
        bench.close()
    idle_s, busy_s = (statistics.median(one[at] for one in rounds) for at in (0, 1))
    figures: dict[str, Any] = {
        "ratio": round(statistics.median(busy / idle for idle, busy, _ in rounds), 3),
        "idle_p95_ms": round(1000 * idle_s, 1),
        "busy_p95_ms": round(1000 * busy_s, 1),
        "warming_frames_per_s_beside": round(statistics.median(one[2] for one in rounds)),
        "rounds": options.rounds,
        "spread": {
            "ratio": spread(busy / idle for idle, busy, _ in rounds),
            "idle_p95_ms": spread(1000 * idle for idle, _, _ in rounds),
            "busy_p95_ms": spread(1000 * busy for _, busy, _ in rounds),
        },
    }
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
