"""The metadata document of an image set version, as GetImageSetMetadata answers it."""

import gzip
import json
from typing import Any, Literal

from teleprefetch.local.healthimaging.archive import ImageSet, Version
from teleprefetch.local.healthimaging.ingest import Instance, StoredFrame
from teleprefetch.local.healthimaging.segment import Segment

FrameSize = Literal["stored", "decoded"]


def metadata_document(
    datastore_id: str,
    image_set: ImageSet,
    version: Version,
    *,
    segment: Segment,
    frame_size: FrameSize,
) -> bytes:
    """The document, gzip.

    Args:
        datastore_id: the data store.
        image_set: the image set.
        version: which of its versions.
        segment: where the attributes of its instances are.
        frame_size: what FrameSizeInBytes counts, which the developer guide does not say.
    """
    instances = list(version.instances.values())
    first = json.loads(segment.read(instances[0].levels))
    series_instance_uid = instances[0].tags["SeriesInstanceUID"]
    document = {
        "SchemaVersion": "1.1",
        "DatastoreID": datastore_id,
        "ImageSetID": image_set.image_set_id,
        "Patient": {"DICOM": first["Patient"]},
        "Study": {
            "DICOM": first["Study"],
            "Series": {
                series_instance_uid: {
                    "DICOM": first["Series"],
                    "Instances": {
                        instance.sop_instance_uid: _instance(instance, segment, frame_size)
                        for instance in instances
                    },
                }
            },
        },
    }
    content = json.dumps(document, separators=(",", ":")).encode()
    return gzip.compress(content, compresslevel=3, mtime=0)


def _instance(instance: Instance, segment: Segment, frame_size: FrameSize) -> dict[str, Any]:
    levels = json.loads(segment.read(instance.levels))
    entry: dict[str, Any] = {
        "DICOM": {**levels["Instance"], "TransferSyntaxUID": instance.transfer_syntax_uid},
        "DICOMVRs": levels["DICOMVRs"],
        "StoredTransferSyntaxUID": instance.stored_transfer_syntax_uid,
    }
    if instance.frames:
        entry["ChecksumType"] = "DECOMPRESSED"
        entry["ImageFrames"] = [_frame(frame, frame_size) for frame in instance.frames]
    return entry


def _frame(frame: StoredFrame, frame_size: FrameSize) -> dict[str, Any]:
    entry: dict[str, Any] = {"ID": frame.frame_id}
    if frame.checksum is not None:
        entry["PixelDataChecksumFromBaseToFullResolution"] = [
            {"Width": frame.columns, "Height": frame.rows, "Checksum": frame.checksum}
        ]
        entry["MinPixelValue"] = frame.minimum
        entry["MaxPixelValue"] = frame.maximum
    stored = frame_size == "stored"
    entry["FrameSizeInBytes"] = frame.extent.length if stored else frame.decoded_bytes
    return entry
