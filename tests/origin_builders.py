"""Studies, series and frames for tests; what a test does not name is some plausible value."""

import json
import zlib
from typing import Any

from teleprefetch.dicom import HTJ2K_LOSSLESS_RPCL
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    SeriesRecord,
    StudyRecord,
)

UID_ROOT = "1.2.826.0.1.3680043.10.1338"
PATIENT = PatientKey(patient_id="MRN-0042", issuer_of_patient_id="GENERAL")


def a_uid(*numbers: int) -> str:
    """A UID of ours; the same numbers give the same UID."""
    return ".".join([UID_ROOT, *map(str, numbers)])


def an_image_set_id(number: int) -> str:
    """An image set id; the same number gives the same id."""
    return f"{number:032x}"


def a_pointer(study: int = 1, series: int = 1, **fields: Any) -> SeriesPointer:
    """The pointer to a series of a study, both by number."""
    return SeriesPointer(
        **{
            "study_instance_uid": a_uid(study),
            "series_instance_uid": a_uid(study, series),
            "image_set_id": an_image_set_id(study * 1000 + series),
            "version_id": 1,
            **fields,
        }
    )


def a_series(study: int = 1, series: int = 1, **fields: Any) -> SeriesRecord:
    """A series of a study, both by number."""
    return SeriesRecord(
        **{
            "pointer": a_pointer(study, series),
            "modality": "CT",
            "body_part_examined": "HEAD",
            "series_description": f"series {series}",
            "series_number": series,
            "number_of_instances": 3,
            **fields,
        }
    )


def a_study(study: int = 1, *, series: int = 1, **fields: Any) -> StudyRecord:
    """A study by number, with as many series as `series` says."""
    records = tuple(a_series(study, number) for number in range(1, series + 1))
    return StudyRecord(
        **{
            "study_instance_uid": a_uid(study),
            "patient": PATIENT,
            "patient_name": "Doe^Jane",
            "patient_birth_date": "19610203",
            "patient_sex": "F",
            "study_date": f"2024{1 + study % 12:02d}15",
            "study_time": "101500",
            "study_description": "CT head",
            "accession_number": f"A{study:05d}",
            "modalities_in_study": tuple(sorted({one.modality for one in records})),
            "series": records,
            **fields,
        }
    )


def a_frame_entry(study: int = 1, series: int = 1, instance: int = 1, **fields: Any) -> FrameEntry:
    """The only frame of an instance, by the numbers of study, series and instance."""
    return FrameEntry(
        **{
            "sop_instance_uid": a_uid(study, series, instance),
            "frame_number": 1,
            "image_frame_id": an_image_set_id((study * 1000 + series) * 10_000 + instance),
            "size_bytes": 1024,
            **fields,
        }
    )


def a_series_metadata(
    pointer: SeriesPointer | None = None, *, instances: int = 3, **fields: Any
) -> SeriesMetadata:
    """A series' metadata with as many instances, of one frame each, as `instances` says."""
    pointer = pointer or a_pointer()
    sop_uids = [f"{pointer.series_instance_uid}.{number}" for number in range(1, instances + 1)]
    frames = tuple(
        FrameEntry(
            sop_instance_uid=uid,
            frame_number=1,
            image_frame_id=f"{zlib.crc32(uid.encode()):032x}",
            size_bytes=1024,
        )
        for uid in sop_uids
    )
    objects = [
        {
            "00080018": {"vr": "UI", "Value": [uid]},
            "0020000D": {"vr": "UI", "Value": [pointer.study_instance_uid]},
            "0020000E": {"vr": "UI", "Value": [pointer.series_instance_uid]},
            "00200013": {"vr": "IS", "Value": [number]},
        }
        for number, uid in enumerate(sop_uids, start=1)
    ]
    return SeriesMetadata(
        **{
            "series": pointer,
            "dicom_json": json.dumps(objects).encode(),
            "frames": frames,
            **fields,
        }
    )


def a_frame(entry: FrameEntry, *, size_bytes: int = 1024) -> Frame:
    """Bytes that differ from frame to frame and begin as an HTJ2K codestream does."""
    head = bytes.fromhex("ff4fff5100294000")
    seed = f"{entry.sop_instance_uid}/{entry.frame_number}/".encode()
    content = (head + seed * (size_bytes // len(seed) + 1))[:size_bytes]
    return Frame(content=content, transfer_syntax_uid=HTJ2K_LOSSLESS_RPCL)
