"""One warm order of a node, from its plan to its last report, in a process of its own.

`python -m tests.benchmarks.warming_node ARCHIVE_KIND URL STORE CONCURRENCY VERIFY`: the shipped
order run, engine and store over an empty store. Answers one JSON object: seconds, seconds of CPU,
the peak of its memory, and what was proven.
"""

import json
import os
import resource
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
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
from teleprefetch.model import ObjectPointer, Plan, PlannedSeries, SeriesPointer, WarmOrder
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin
from tests.benchmarks.warming_archive import DATASTORE, IMAGE_SET, SERIES, STUDY


class OneDocument:
    """The plan, as if S3 had it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def put(self, key: str, document: Any) -> ObjectPointer:
        raise NotImplementedError

    def get(self, pointer: ObjectPointer, kind: Any) -> Any:
        return self._plan

    def get_bytes(self, pointer: ObjectPointer) -> bytes:
        raise NotImplementedError


def a_plan(kind: str) -> Plan:
    series = SeriesPointer(
        study_instance_uid=STUDY,
        series_instance_uid=SERIES,
        image_set_id=IMAGE_SET if kind == "healthimaging" else None,
        version_id=1,
    )
    planned = PlannedSeries(role="current", rank=0, series=series, estimated_bytes=1)
    return Plan(
        prefetch_id="benchmark",
        origin_id=DATASTORE,
        study_instance_uid=STUDY,
        series=(planned,),
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


def main() -> None:
    kind, url, place, concurrency, verify = sys.argv[1:]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
    settings = (
        HealthImagingOrigin(kind="healthimaging", dicomweb_url=f"{url}/dicom-web")
        if kind == "healthimaging"
        else DicomwebOrigin(kind="dicomweb", url=f"{url}/dicom-web")
    )
    store = Store(Path(place), 1 << 40)
    pace = Pace(most=int(concurrency))
    pool = FetchPool(int(concurrency), at_thread_end=store.close_thread, limit=lambda: pace.limit)
    with closing(
        open_origins({DATASTORE: settings}, connections=int(concurrency), open_fetcher=Transfers)
    ) as origins:
        warmer = Warmer(
            node="benchmark",
            store=store,
            pool=pool,
            retriever=Retriever(store, verify_pixels=verify == "yes", pace=pace),
            origins=origins,
            documents=OneDocument(a_plan(kind)),
            clock=lambda: datetime.now(UTC),
        )
        _ = origins[DATASTORE]  # a node has its client long before an order comes
        look_for_garbage_less_often()
        cpu_before, began = cpu_s(), time.monotonic()
        outcome = warmer.run(an_order(), tell=lambda _report: None, stop=threading.Event())
        took_s = time.monotonic() - began
        used_s = cpu_s() - cpu_before
        pool.close()
    store.close()
    assert outcome is not None
    report = outcome.report
    assert report.state == "warm", report.problems
    print(
        json.dumps(
            {
                "seconds": took_s,
                "cpu_s": used_s,
                "peak_rss_mb": peak_mb(),
                "at_once": pace.limit,
                "frames": report.frames_verified,
                "bytes": report.bytes_warmed,
            }
        )
    )


if __name__ == "__main__":
    main()
