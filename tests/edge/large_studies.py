"""A process that warms a CT of 4,000 frames and a tomosynthesis of 2 GB, and says what it took."""

import json
import shutil
import sys
import threading
import zlib
from pathlib import Path

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.model import Frame, FrameEntry
from tests.edge.fakes_for_node import (
    ORIGIN,
    FakeClock,
    FakeDocuments,
    FakeOrigin,
    dicom_json,
    metadata,
    order,
    plan,
    pointer,
)

CT_FRAMES, CT_BYTES = 4000, 100_000
TOMO_FRAMES, TOMO_BYTES = 72, 30_000_000


def peak_resident_kb():
    """The most memory that was resident since this program began.

    `ru_maxrss` is not it: a process inherits that of the one that started it, and a test run of
    600 MB would be taken for the node's.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main(path):
    origin, documents = FakeOrigin(), FakeDocuments()
    ct, tomo = pointer(1), pointer(2)
    documents_of_ct = json.loads(dicom_json(ct, CT_FRAMES))
    for number, one in enumerate(documents_of_ct):
        for at in range(30):  # as many attributes as a scanner writes
            one[f"0018{at:04X}"] = {"vr": "LO", "Value": [f"value {at} of {number}" * 3]}
    base = metadata(ct, CT_FRAMES, with_checksums=False)
    origin.series[ct] = base.model_copy(update={"dicom_json": json.dumps(documents_of_ct).encode()})
    del documents_of_ct
    origin.series[tomo] = metadata(tomo, 1).model_copy(
        update={
            "frames": tuple(
                FrameEntry(
                    sop_instance_uid=f"{tomo.series_instance_uid}.1",
                    frame_number=number,
                    size_bytes=TOMO_BYTES,
                    crc32=crc32_of(number),
                )
                for number in range(1, TOMO_FRAMES + 1)
            )
        }
    )

    def retrieve(series, entry):
        if series == tomo:
            content = large(entry.frame_number)
        else:
            content = entry.sop_instance_uid.encode().ljust(CT_BYTES, b"\0")
        return Frame(content=content, transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)

    origin.retrieve_frame = retrieve
    before = peak_resident_kb()
    store = Store(Path(path), 4 << 30)
    pool = FetchPool(16, at_thread_end=store.close_thread)
    retriever = Retriever(store, verify_pixels=True)
    warmer = Warmer(
        node="n1",
        store=store,
        pool=pool,
        retriever=retriever,
        origins={ORIGIN: origin},
        documents=documents,
        clock=FakeClock(),
    )
    report = warmer.run(
        order(documents, plan(ct, tomo)), tell=lambda _report: None, stop=threading.Event()
    ).report
    reading = ReadThrough(store, pool=pool, retriever=retriever, origins={ORIGIN: origin})
    reading.metadata(ct.study_instance_uid, ct.series_instance_uid)
    pool.close()
    store.close()
    print(
        json.dumps(
            {
                "state": report.state,
                "frames": report.frames_verified,
                "bytes": report.bytes_warmed,
                "imports_mb": before / 1024,
                "resident_mb": peak_resident_kb() / 1024,
            }
        )
    )
    shutil.rmtree(path)


def large(number):
    return number.to_bytes(4, "big") * (TOMO_BYTES // 4)


def crc32_of(number):
    return zlib.crc32(large(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
