"""One warm order of a node, from its coming to its last report, in a process of its own.

`python -m tests.benchmarks.warming_node ARCHIVE_KIND URL STORE CONCURRENCY`: the shipped order run,
engine and store over an empty store. Answers one JSON object: seconds, seconds of CPU, the peak of
its memory, and what was proven. `--after` has the same fetched before, as another study, so that
the node knows its link: connections are then left alone for a second.
"""

import argparse
import json
import os
import resource
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from teleprefetch.adapters.origins import open_origins
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.edge.archives.allocating import look_for_garbage_less_often
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.pacing import Pace
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.model import (
    ObjectPointer,
    Plan,
    PlannedSeries,
    SeriesPointer,
    WarmOrder,
    WarmReport,
)
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin
from tests.benchmarks.warming_archive import DATASTORE, SERIES, STUDY

IDLE_S = 1.0


class OneDocument:
    """The plan, as if S3 had it."""

    def __init__(self) -> None:
        self.plan: Plan | None = None

    def put(self, key: str, document: Any) -> ObjectPointer:
        raise NotImplementedError

    def get(self, pointer: ObjectPointer, kind: Any) -> Any:
        return self.plan

    def get_bytes(self, pointer: ObjectPointer) -> bytes:
        raise NotImplementedError


def a_plan(kind: str, image_sets: int, letter: str) -> Plan:
    """A current study and priors; for DICOMweb, one series."""
    ids = [f"{number:031x}{letter}" if kind == "healthimaging" else None
           for number in range(image_sets)]  # fmt: skip
    return Plan(
        prefetch_id="benchmark",
        origin_id=DATASTORE,
        study_instance_uid=STUDY,
        series=tuple(
            PlannedSeries(
                role="prior" if rank else "current",
                rank=rank,
                series=SeriesPointer(
                    study_instance_uid=STUDY,
                    series_instance_uid=SERIES,
                    image_set_id=image_set_id,
                    version_id=1,
                ),
                estimated_bytes=1,
            )
            for rank, image_set_id in enumerate(ids)
        ),
        priors=(),
        budget_bytes=1 << 40,
    )


def an_order() -> WarmOrder:
    return WarmOrder(
        prefetch_id="benchmark",
        node="benchmark",
        plan=ObjectPointer(bucket="plans", key="plan"),
        priority="stat",
        give_up_at=datetime.now(UTC) + timedelta(hours=1),
        task_token="none",
    )


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """The peak of this process alone: `ru_maxrss` would begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def warmed(warmer: Warmer) -> WarmReport:
    """The last report of the order, which is warm."""
    outcome = warmer.run(an_order(), tell=lambda _report: None, stop=threading.Event())
    assert outcome is not None
    assert outcome.report.state == "warm", outcome.report.problems
    return outcome.report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kind", "url", "store"):
        parser.add_argument(name)
    parser.add_argument("at_once", type=int)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--image-sets", type=int, default=1)
    given = parser.parse_args()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": given.url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
    settings = (
        HealthImagingOrigin(kind="healthimaging", dicomweb_url=f"{given.url}/dicom-web")
        if given.kind == "healthimaging"
        else DicomwebOrigin(kind="dicomweb", url=f"{given.url}/dicom-web")
    )
    store = Store(Path(given.store), 1 << 40)
    pace = Pace(most=given.at_once)
    pool = FetchPool(given.at_once, at_thread_end=store.close_thread, limit=lambda: pace.limit)
    fetcher = partial(Transfers, first_byte=pace.first_byte)
    with (
        closing(store),
        closing(
            open_origins({DATASTORE: settings}, connections=given.at_once, open_fetcher=fetcher)
        ) as origins,
        closing(pool),
    ):
        documents = OneDocument()
        warmer = Warmer(
            node="benchmark",
            store=store,
            pool=pool,
            retriever=Retriever(store, verify_pixels=given.verify, pace=pace),
            origins=origins,
            documents=documents,
            clock=lambda: datetime.now(UTC),
            make_ready=lambda: origins.make_ready(pace.limit),
        )
        _ = origins[DATASTORE]  # a node has its client long before an order comes
        look_for_garbage_less_often()
        if given.after:
            documents.plan = a_plan(given.kind, given.image_sets, "b")
            warmed(warmer)
            time.sleep(IDLE_S)
        documents.plan = a_plan(given.kind, given.image_sets, "a")
        began_at_once, cpu_before, began = pace.limit, cpu_s(), time.monotonic()
        report = warmed(warmer)
        took_s = time.monotonic() - began
        used_s = cpu_s() - cpu_before
    print(
        json.dumps(
            {
                "seconds": took_s,
                "cpu_s": used_s,
                "peak_rss_mb": peak_mb(),
                "at_once_first": began_at_once,
                "at_once": pace.limit,
                "frames": report.frames_verified,
                "bytes": report.bytes_warmed,
            }
        )
    )


if __name__ == "__main__":
    main()
