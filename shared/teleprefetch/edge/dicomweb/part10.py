"""An instance as a DICOM file (PS3.10), put together from its metadata and its frames.

Only where nothing is lost by it: each attribute has its value in the metadata, and all frames are
held in one transfer syntax. Otherwise it is refused, by name. What differs from the archive's own
file: the file meta information is ours, and text is in UTF-8.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.edge.store.attributes import Attributes, text_of
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError

_PIXEL_DATA: Final = "7FE00010"
_IMPLEMENTATION: Final = "1.2.826.0.1.3680043.8.498.1"
_UTF_8: Final = "ISO_IR 192"
_MOST_OFFSET: Final = (1 << 32) - 1
_UNKEPT_GROUPS: Final = ("0002", "7FE0")


def frame_count(instance: Attributes) -> int:
    """How many frames an instance has by its metadata; 0 without an image."""
    if not text_of(instance, "00280010"):
        return 0
    text = text_of(instance, "00280008").strip() or "1"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def build(instance: Attributes, frames: Sequence[bytes], transfer_syntax_uid: str) -> bytes:
    """The file.

    Raises:
        InvalidPayloadError: it cannot be put together without loss; the message says why.
        CorruptPayloadError: the metadata are not DICOM JSON.
    """
    kept = {tag: value for tag, value in instance.items() if not tag.startswith(_UNKEPT_GROUPS)}
    if _has_bulk_data(kept):
        raise InvalidPayloadError("instance: has bulk data beside its pixels, which is not held")
    if frames and text_of(instance, "00280100") == "1" and len(frames) > 1:
        raise InvalidPayloadError("instance: frames of single bits cannot be joined")
    dataset = _dataset(kept)
    dataset.SpecificCharacterSet = _UTF_8
    syntax = UID(transfer_syntax_uid)
    if frames:
        _put_pixels(dataset, frames, syntax)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(text_of(instance, "00080016"))
    meta.MediaStorageSOPInstanceUID = UID(text_of(instance, "00080018"))
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    file = io.BytesIO()
    whole = FileDataset(file, dataset, file_meta=meta, preamble=b"\0" * 128)
    try:
        whole.save_as(file, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise CorruptPayloadError("metadata: an attribute cannot be written") from None
    return file.getvalue()


def _dataset(kept: Attributes) -> Dataset:
    try:
        return Dataset.from_json(kept)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise CorruptPayloadError("metadata: not DICOM JSON") from None


def _put_pixels(dataset: Dataset, frames: Sequence[bytes], syntax: UID) -> None:
    if syntax.is_encapsulated:
        is_long = sum(map(len, frames)) > _MOST_OFFSET
        if is_long:
            content, offsets, lengths = encapsulate_extended(list(frames))
            dataset.ExtendedOffsetTable = offsets
            dataset.ExtendedOffsetTableLengths = lengths
        else:
            content = encapsulate(list(frames))
        dataset.add_new(0x7FE00010, "OB", content)
        dataset["PixelData"].is_undefined_length = True
    elif syntax == EXPLICIT_VR_LITTLE_ENDIAN:
        content = b"".join(frames)
        is_wide = int(dataset.get("BitsAllocated", 16)) > 8
        dataset.add_new(0x7FE00010, "OW" if is_wide else "OB", content + b"\0" * (len(content) % 2))
    else:
        raise InvalidPayloadError("instance: its transfer syntax is not written")


def _has_bulk_data(value: Any) -> bool:
    if isinstance(value, dict):
        return "BulkDataURI" in value or any(map(_has_bulk_data, value.values()))
    return isinstance(value, list) and any(map(_has_bulk_data, value))
