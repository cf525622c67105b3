"""One P10 file becomes one stored instance: its metadata, its frames, its warnings."""

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from teleprefetch.dicom import is_uid
from teleprefetch.local.healthimaging.attributes import levels_of, text_of
from teleprefetch.local.healthimaging.damage import UNREADABLE
from teleprefetch.local.healthimaging.pixels import (
    EncodedFrame,
    PixelError,
    frames_of,
    stored_transfer_syntax,
)
from teleprefetch.local.healthimaging.segment import Extent, Segment

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_ATTRIBUTES: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BULK_BYTES: Final = 1024 * 1024
_LOOSE_UID = re.compile(r"[0-9.]{1,64}")
_REQUIRED_UIDS: Final = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
TAGS: Final = (
    *_REQUIRED_UIDS,
    "SOPClassUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "SeriesNumber",
    "Modality",
    "BodyPartExamined",
    "InstanceNumber",
)


class ImportRefusedError(Exception):
    """The file is not imported: the line that failure.ndjson has for it."""


@dataclass(frozen=True, slots=True)
class InstanceWarning:
    """Why an instance can be had only in part (developer guide, "Warning codes")."""

    code: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame in the segment; its checksum is that of the decoded pixels."""

    frame_id: str
    extent: Extent
    rows: int
    columns: int
    decoded_bytes: int
    checksum: int | None
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance.

    `p10` is the file up to its pixel data, or all of it where there are no `frames` (and of a
    deflated file); `blob` is the pixel data of an instance whose frames cannot be had one by one.
    """

    tags: dict[str, str]
    transfer_syntax_uid: str
    stored_transfer_syntax_uid: str
    levels: Extent
    dicom_json: Extent
    p10: Extent
    frames: tuple[StoredFrame, ...] = ()
    blob: Extent | None = None
    warnings: tuple[InstanceWarning, ...] = ()
    bulk: tuple[tuple[str, Extent], ...] = ()

    @property
    def sop_instance_uid(self) -> str:
        """Its SOP Instance UID."""
        return self.tags["SOPInstanceUID"]


def ingest(p10: bytes, *, segment: Segment, studies_url: str) -> Instance:
    """Store one file.

    Args:
        p10: the file.
        segment: where everything is written.
        studies_url: the address of `/studies`, for the bulk data URIs in the DICOM JSON.

    Raises:
        ImportRefusedError: the file is not DICOM, or leaves out what identifies an instance.
    """
    dataset, pixel_data = _read(p10)
    transfer_syntax_uid = str(dataset.file_meta.TransferSyntaxUID)
    warnings = _uid_warnings(dataset)
    frames: tuple[StoredFrame, ...] = ()
    stored_as = transfer_syntax_uid
    if any(keyword in dataset for keyword in _PIXEL_ATTRIBUTES):
        try:
            frames = _store_frames(dataset, transfer_syntax_uid, segment)
            stored_as = stored_transfer_syntax(dataset, transfer_syntax_uid)
        except PixelError as error:
            warnings = (*warnings, InstanceWarning(error.code, error.kind, error.message))
    description = _describe(dataset, segment, studies_url, stored_as, warnings)
    keeps_header_only = bool(frames) and pixel_data is not None
    file = segment.append(p10[: pixel_data.begins_at] if pixel_data and keeps_header_only else p10)
    blob = None
    if pixel_data and not frames:
        blob = Extent(file.offset + pixel_data.value_at, pixel_data.length)
    return Instance(
        tags=description.tags,
        transfer_syntax_uid=transfer_syntax_uid,
        stored_transfer_syntax_uid=stored_as,
        levels=description.levels,
        dicom_json=description.dicom_json,
        p10=file,
        frames=frames,
        blob=blob,
        warnings=warnings,
        bulk=description.bulk,
    )


@dataclass(frozen=True, slots=True)
class _PixelData:
    """Where Pixel Data is in the file: the element, its value, the length of the value."""

    begins_at: int
    value_at: int
    length: int


@dataclass(frozen=True, slots=True)
class _Description:
    """What an instance's metadata became."""

    tags: dict[str, str]
    levels: Extent
    dicom_json: Extent
    bulk: tuple[tuple[str, Extent], ...]


def _read(p10: bytes) -> tuple[Dataset, _PixelData | None]:
    try:
        dataset = dcmread(BytesIO(p10))
        transfer_syntax_uid = dataset.file_meta.get("TransferSyntaxUID")
        uids = {keyword: text_of(dataset, keyword) for keyword in _REQUIRED_UIDS}
    except UNREADABLE as error:
        raise ImportRefusedError("The file is not a DICOM P10 file") from error
    if not isinstance(transfer_syntax_uid, str) or not transfer_syntax_uid:
        raise ImportRefusedError("DICOM attribute TransferSyntaxUID does not exist")
    for keyword, uid in uids.items():
        if not uid:
            raise ImportRefusedError(f"DICOM attribute {keyword} does not exist")
        if _LOOSE_UID.fullmatch(uid) is None:
            raise ImportRefusedError(f"DICOM attribute {keyword} is not a UID")
    return dataset, _pixel_data_of(dataset)


def _pixel_data_of(dataset: Dataset) -> _PixelData | None:
    if _PIXEL_DATA not in dataset or dataset.file_meta.TransferSyntaxUID == _DEFLATED:
        return None
    element = dataset.get_item(_PIXEL_DATA, keep_deferred=True)
    if not isinstance(element, RawDataElement) or element.value is None:
        return None
    # PS3.5 7.1.2 and 7.1.3: tag and length, and between them VR and two reserved bytes.
    header_length = 8 if element.is_implicit_VR else 12
    value_at = element.value_tell
    return _PixelData(value_at - header_length, value_at, len(element.value))


def _describe(
    dataset: Dataset,
    segment: Segment,
    studies_url: str,
    stored_as: str,
    warnings: tuple[InstanceWarning, ...],
) -> _Description:
    try:
        tags = {keyword: text_of(dataset, keyword) for keyword in TAGS}
        levels = levels_of(dataset)
        bulk, dicom_json = _dicom_json(dataset, tags, segment, studies_url)
    except UNREADABLE as error:
        raise ImportRefusedError("DICOM attributes cannot be read") from error
    dicom_json["00083002"] = {"vr": "UI", "Value": [stored_as]}
    if warnings:
        dicom_json["00081196"] = {"vr": "US", "Value": [warning.code for warning in warnings]}
    return _Description(
        tags,
        segment.append(_compact(levels)),
        segment.append(_compact(dict(sorted(dicom_json.items())))),
        bulk,
    )


def _uid_warnings(dataset: Dataset) -> tuple[InstanceWarning, ...]:
    if all(is_uid(text_of(dataset, keyword)) for keyword in _REQUIRED_UIDS):
        return ()
    return (InstanceWarning(0xB201, "InvalidUidFormat", "A UID is not formed by PS3.5 9.1"),)


def _store_frames(
    dataset: Dataset, transfer_syntax_uid: str, segment: Segment
) -> tuple[StoredFrame, ...]:
    if _PIXEL_DATA not in dataset:
        raise PixelError(45312, "TranscodingException", "Float pixel data cannot be transcoded")
    return tuple(_store_frame(frame, segment) for frame in frames_of(dataset, transfer_syntax_uid))


def _store_frame(frame: EncodedFrame, segment: Segment) -> StoredFrame:
    return StoredFrame(
        frame_id=uuid.uuid4().hex,
        extent=segment.append(frame.content),
        rows=frame.rows,
        columns=frame.columns,
        decoded_bytes=frame.decoded_bytes,
        checksum=frame.checksum,
        minimum=frame.minimum,
        maximum=frame.maximum,
    )


def _dicom_json(
    dataset: Dataset, tags: dict[str, str], segment: Segment, studies_url: str
) -> tuple[tuple[tuple[str, Extent], ...], dict[str, Any]]:
    bulk: dict[str, Extent] = {}
    base = (
        f"{studies_url}/{tags['StudyInstanceUID']}/series/{tags['SeriesInstanceUID']}"
        f"/instances/{tags['SOPInstanceUID']}/bulkdata"
    )

    def keep(element: Any) -> str:
        digest = hashlib.sha256(element.value).hexdigest()[:32]
        if digest not in bulk:
            bulk[digest] = segment.append(element.value)
        return f"{base}/{digest}"

    for keyword in _PIXEL_ATTRIBUTES:
        if keyword in dataset:
            delattr(dataset, keyword)
    document = dataset.to_json_dict(
        bulk_data_threshold=_BULK_BYTES,
        bulk_data_element_handler=keep,
        suppress_invalid_tags=True,
    )
    return tuple(bulk.items()), document


def _compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
