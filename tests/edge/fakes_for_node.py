"""What a node meets outside: an archive, a queue, tasks, reports and documents, in memory."""

import json
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import imagecodecs
import numpy as np

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.errors import OriginUnavailableError, StudyNotFoundError
from teleprefetch.model import (
    Frame,
    FrameEntry,
    ObjectPointer,
    Plan,
    PlannedSeries,
    SeriesMetadata,
    SeriesPointer,
    WarmOrder,
)

ORIGIN = "archive"
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def eventually(condition, *, within_s=10.0):
    """What `condition` answers once it is true."""
    ends = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.005)


class FakeClock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@cache
def coded_image(seed, side=24):
    """An HTJ2K codestream and the CRC-32 of its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 4000, (side, side)).astype("uint16")
    return imagecodecs.htj2k_encode(pixels), zlib.crc32(pixels.tobytes())


def image_set_id(number):
    return f"{number:032d}"


def pointer(study=1, series=1, *, version=1, image_set=None):
    return SeriesPointer(
        study_instance_uid=f"1.2.{study}",
        series_instance_uid=f"1.2.{study}.{series}",
        image_set_id=image_set_id(study * 100 + series) if image_set is None else image_set or None,
        version_id=version,
    )


def entry(series, number, *, crc32=None):
    return FrameEntry(
        sop_instance_uid=f"{series.series_instance_uid}.{number}", frame_number=1, crc32=crc32
    )


def dicom_json(series, count, *, patient_id="P1"):
    return json.dumps(
        [
            {
                "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                "00080018": {"vr": "UI", "Value": [f"{series.series_instance_uid}.{number}"]},
                "00080020": {"vr": "DA", "Value": ["20260301"]},
                "00080060": {"vr": "CS", "Value": ["CT"]},
                "00081030": {"vr": "LO", "Value": ["Thorax"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
                "00100020": {"vr": "LO", "Value": [patient_id]},
                "0020000D": {"vr": "UI", "Value": [series.study_instance_uid]},
                "0020000E": {"vr": "UI", "Value": [series.series_instance_uid]},
                "00200011": {"vr": "IS", "Value": [int(series.series_instance_uid[-1])]},
                "00200013": {"vr": "IS", "Value": [number]},
                "00280010": {"vr": "US", "Value": [24]},
            }
            for number in range(1, count + 1)
        ]
    ).encode()


def metadata(series, count, *, patient_id="P1", with_checksums=True):
    return SeriesMetadata(
        series=series,
        dicom_json=dicom_json(series, count, patient_id=patient_id),
        frames=tuple(
            entry(series, number, crc32=coded_image(number)[1] if with_checksums else None)
            for number in range(1, count + 1)
        ),
    )


def content(number):
    return coded_image(number)[0]


class FakeOrigin:
    """Series of small HTJ2K frames; `before_frame` may raise, block or answer other bytes."""

    def __init__(self):
        self.series = {}
        self.frame_calls = Counter()
        self.metadata_calls = Counter()
        self.asked = []
        self.before_frame = lambda _entry: None
        self.before_metadata = lambda _series: None
        self.transfer_syntax_uid = HTJ2K_LOSSLESS

    def hold(self, series, count, **options):
        self.series[series] = metadata(series, count, **options)
        return series

    def retrieve_series_metadata(self, series):
        self.metadata_calls[series] += 1
        self.asked.append(("metadata", series.series_instance_uid))
        self.before_metadata(series)
        if series not in self.series:
            raise StudyNotFoundError("series: not held")
        return self.series[series]

    def search_for_study(self, _study_instance_uid):
        raise StudyNotFoundError("study: not held")

    def retrieve_frame(self, series, frame):
        name = (frame.sop_instance_uid, frame.frame_number)
        self.frame_calls[name] += 1
        self.asked.append(name)
        other = self.before_frame(frame)
        bytes_ = other or content(int(frame.sop_instance_uid.rsplit(".", 1)[1]))
        return Frame(content=bytes_, transfer_syntax_uid=self.transfer_syntax_uid)


@dataclass
class FakeOrder:
    body: str
    receipt: str


class FakeOrders:
    def __init__(self):
        self._changed = threading.Condition()
        self._ready = []
        self.hidden = {}
        self.deleted = []
        self.extended = []

    def put(self, order):
        body = order if isinstance(order, str) else order.model_dump_json()
        with self._changed:
            receipt = f"receipt-{len(self.hidden) + len(self._ready) + len(self.deleted) + 1}"
            self._ready.append(FakeOrder(body, receipt))
            self._changed.notify_all()
        return receipt

    def receive(self, *, wait_s):
        with self._changed:
            self._changed.wait_for(lambda: self._ready, timeout=wait_s)
            received, self._ready = tuple(self._ready), []
            self.hidden.update({order.receipt: order for order in received})
            return received

    def extend(self, receipt, *, visibility_s):
        self.extended.append((receipt, visibility_s))
        if visibility_s == 0:
            with self._changed:
                self._ready.append(self.hidden.pop(receipt))

    def delete(self, receipt):
        self.hidden.pop(receipt, None)
        self.deleted.append(receipt)


@dataclass
class FakeTasks:
    stale: set = field(default_factory=set)
    succeeded: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)
    heartbeats: Counter = field(default_factory=Counter)

    def succeed(self, task_token, output):
        self.succeeded[task_token] = output
        return task_token not in self.stale

    def fail(self, task_token, *, error, cause):
        self.failed[task_token] = (error, cause)
        return task_token not in self.stale

    def heartbeat(self, task_token):
        self.heartbeats[task_token] += 1
        return task_token not in self.stale


@dataclass
class FakeProgress:
    all: list = field(default_factory=list)

    def report(self, report):
        self.all.append(report)

    def last(self, prefetch_id):
        return next((one for one in reversed(self.all) if one.prefetch_id == prefetch_id), None)


class FakeDocuments:
    def __init__(self):
        self.held = {}

    def put(self, key, document):
        self.held[key] = document
        return ObjectPointer(bucket="plans", key=key)

    def get(self, pointer_, kind):
        if pointer_.key not in self.held:
            raise OriginUnavailableError("documents: not there")
        return kind.model_validate(self.held[pointer_.key].model_dump())


def plan(*series, prefetch_id="p1", roles=None):
    """A plan: the first study is the current one, the others priors in order."""
    studies = list(dict.fromkeys(one.study_instance_uid for one in series))
    return Plan(
        prefetch_id=prefetch_id,
        origin_id=ORIGIN,
        study_instance_uid=studies[0] if studies else "1.2.1",
        series=tuple(
            PlannedSeries(
                role="current" if one.study_instance_uid == studies[0] else "prior",
                rank=studies.index(one.study_instance_uid),
                series=one,
                estimated_bytes=1,
            )
            for one in series
        ),
        priors=(),
        budget_bytes=1 << 30,
    )


def order(documents, plan_, *, token="t1", priority="high", node="n1", give_up_s=60.0):  # noqa: S107
    return WarmOrder(
        prefetch_id=plan_.prefetch_id,
        node=node,
        plan=documents.put(f"plans/{plan_.prefetch_id}", plan_),
        priority=priority,
        give_up_at=START + timedelta(seconds=give_up_s),
        task_token=token,
    )
