"""What the servers of the benchmarks serve: a node's store, who may read it, and its settings."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file

from teleprefetch.dicom import HTJ2K_LOSSLESS
from teleprefetch.domain.policy.readings import Reading
from teleprefetch.edge.policy.reading_list import ReadingList
from teleprefetch.edge.store.store import Store
from teleprefetch.model import AssignedTo, Frame, FrameEntry, SeriesMetadata, SeriesPointer
from tests.loopback_issuer import SUBJECT, Issuer

STUDY = "1.2.826.0.1.1"
SIZES = {"frames_200KB": (200_000, 300), "frames_27MB": (27_000_000, 6)}


def fill(path: Path) -> dict[str, list[str]]:
    """A store with all that is asked for; the paths by kind."""
    chance = random.Random(1)  # noqa: S311 - the same bytes each time
    store = Store(path, 1 << 40)
    paths: dict[str, list[str]] = {}
    try:
        for number, (kind, (size, count)) in enumerate(SIZES.items(), start=1):
            series = pointer_of(number)
            put(store, series, count, partial(codestream, chance, size), size)
            base = f"/dicom-web/studies/{STUDY}/series/{series.series_instance_uid}/instances"
            paths[kind] = [
                f"{base}/{series.series_instance_uid}.{one}/frames/1" for one in range(1, count + 1)
            ]
        series = pointer_of(9)
        put(store, series, 1000, None, 0)
        paths["metadata_1000"] = [
            f"/dicom-web/studies/{STUDY}/series/{series.series_instance_uid}/metadata"
        ]
    finally:
        store.close()
    return paths


def codestream(chance: random.Random, size: int) -> bytes:
    """What begins as a frame of HTJ2K does, and is long enough."""
    return b"\xff\x4f\xff\x51" + chance.randbytes(size - 4)


def pointer_of(number: int) -> SeriesPointer:
    """A series of the study."""
    return SeriesPointer(
        study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.{number}",
        image_set_id=f"{number:032d}",
    )


def put(
    store: Store, series: SeriesPointer, count: int, content: Callable[[], bytes] | None, size: int
) -> None:
    """Hold a series of so many instances; without `content`, its metadata alone."""
    entries = tuple(
        FrameEntry(
            sop_instance_uid=f"{series.series_instance_uid}.{one}", frame_number=1, size_bytes=size
        )
        for one in range(1, count + 1)
    )
    document = json.dumps([_instance(series, one) for one in range(1, count + 1)]).encode()
    store.put_metadata(
        "archive", SeriesMetadata(series=series, dicom_json=document, frames=entries)
    )
    if content is not None:
        with store.writing("archive", series) as writer:
            for entry in entries:
                writer.append(entry, Frame(content=content(), transfer_syntax_uid=HTJ2K_LOSSLESS))


def _instance(series: SeriesPointer, number: int) -> dict[str, Any]:
    """A real CT's public attributes (pydicom's CT_small.dcm), 3.7 KB of DICOM JSON.

    What differs from slice to slice does here; UIDs are as long and as arbitrary as UUIDs make them
    (PS3.5 B.2).
    """
    chance = random.Random(number)  # noqa: S311 - the same document each time
    time_of_day = f"1012{chance.randrange(60):02d}.{chance.randrange(10**6):06d}"
    values: dict[str, tuple[str, list[Any]]] = {
        "00080018": ("UI", [f"{series.series_instance_uid}.{number}"]),
        "00080032": ("TM", [time_of_day]),
        "00080033": ("TM", [time_of_day]),
        "00081140": ("SQ", [{"00081155": {"vr": "UI", "Value": [_uid(chance)]}}]),
        "00181151": ("IS", [chance.randrange(120, 480)]),
        "0020000D": ("UI", [series.study_instance_uid]),
        "0020000E": ("UI", [series.series_instance_uid]),
        "00200013": ("IS", [number]),
        "00200032": ("DS", [-180.5, -171.25, round(number * 1.25 - chance.random(), 6)]),
        "00200052": ("UI", [_uid(random.Random(0))]),  # noqa: S311 - the same for all slices
        "00201041": ("DS", [round(number * 1.25 - 400, 6)]),
        "00400254": ("LO", [f"{chance.randrange(1 << 40):x}"]),
    }
    return _ct_attributes() | {
        tag: {"vr": vr, "Value": value} for tag, (vr, value) in values.items()
    }


@cache
def _ct_attributes() -> dict[str, Any]:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"), stop_before_pixels=True)
    dataset.remove_private_tags()
    return dict(dataset.to_json_dict())


def _uid(chance: random.Random) -> str:
    return f"2.25.{chance.getrandbits(128)}"


def node_settings(folder: Path) -> dict[str, str]:
    """Of a process that serves what is in the folder, and asks no archive."""
    return {
        "NODE": "node",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": json.dumps({"archive": {"kind": "dicomweb", "url": "http://127.0.0.1:1"}}),
        "TABLE_NAME": "table",
        "STORE_PATH": str(folder / "store"),
        "STORE_BYTES": str(1 << 40),
        "AUDIT_PATH": str(folder / "audit"),
    }


def token_of(issuer: Issuer) -> str:
    """About 900 bytes: as long as one of a hospital's directory, with its groups."""
    return issuer.token("readers", *(f"{'g' * 40}{number}" for number in range(5)))


def assign(folder: Path, issuer: Issuer) -> None:
    """Let the token's subject read the study."""
    readings = ReadingList(folder / "store" / "readings.sqlite")
    now = datetime.now(UTC)
    readings.put(
        Reading(
            assignment_id="A-1",
            prefetch_id="assigned-1",
            origin_id="archive",
            reading_location="home",
            study_instance_uid=STUDY,
            assigned_to=AssignedTo(issuer=issuer.issuer, subject=SUBJECT),
            patient="c" * 40,
            ends_at=now + timedelta(days=1),
        )
    )
    readings.close()
