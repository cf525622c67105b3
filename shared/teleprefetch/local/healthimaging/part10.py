"""An instance written as a P10 file again, in the transfer syntax it is stored in or plain."""

from io import BytesIO
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, RLELossless

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN
from teleprefetch.local.healthimaging.ingest import Instance
from teleprefetch.local.healthimaging.pixels import decode
from teleprefetch.local.healthimaging.segment import Segment

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def stored_file(instance: Instance, segment: Segment) -> bytes:
    """The instance as it came where it has no frames, else with its frames as they are stored.

    Frames that are stored uncompressed make the file that `plain_file` gives.
    """
    if not instance.frames:
        return segment.read(instance.p10)
    dataset = _header(instance, segment)
    dataset.PixelData = encapsulate([segment.read(frame.extent) for frame in instance.frames])
    dataset["PixelData"].VR = "OB"
    return _written(dataset, instance.stored_transfer_syntax_uid)


def plain_file(instance: Instance, segment: Segment) -> bytes | None:
    """The instance in Explicit VR Little Endian; None if its pixels cannot be decoded."""
    if instance.warnings and not instance.frames:
        return None
    dataset = _header(instance, segment)
    if instance.frames:
        pixels = _pixels(instance, segment, dataset)
        if pixels is None:
            return None
        dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        _describe_plainly(dataset, instance.transfer_syntax_uid)
    return _written(dataset, EXPLICIT_VR_LITTLE_ENDIAN)


def _pixels(instance: Instance, segment: Segment, dataset: Dataset) -> bytes | None:
    decoded: list[bytes] = []
    for frame in instance.frames:
        pixels = decode(segment.read(frame.extent), instance.stored_transfer_syntax_uid)
        if pixels is None:
            return None
        decoded.append(pixels)
    if dataset.get("BitsAllocated") != 1:
        return b"".join(decoded)
    # PS3.5 8.1.1: the bits of one frame go on where those of the last ended.
    count = int(dataset.Rows) * int(dataset.Columns)
    bits = [
        np.unpackbits(np.frombuffer(pixels, np.uint8), bitorder="little")[:count]
        for pixels in decoded
    ]
    return np.packbits(np.concatenate(bits), bitorder="little").tobytes()


def _describe_plainly(dataset: Dataset, transfer_syntax_uid: str) -> None:
    if int(dataset.get("SamplesPerPixel") or 1) == 1:
        return
    dataset.PlanarConfiguration = 0
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    # The codecs undo colour transforms that are part of a codestream.
    decoded = interpretation.startswith("YBR") and UID(transfer_syntax_uid).is_compressed
    if decoded and transfer_syntax_uid != RLELossless:
        dataset.PhotometricInterpretation = "RGB"
    elif interpretation == "YBR_FULL_422":
        dataset.PhotometricInterpretation = "YBR_FULL"


def _header(instance: Instance, segment: Segment) -> Dataset:
    dataset = dcmread(BytesIO(segment.read(instance.p10)), stop_before_pixels=True)
    for keyword in _PIXELS:
        if keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def _written(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    swap = dataset.original_encoding[1] is False
    for element in dataset.iterall():
        # Reading every element decodes it, without which none can be written otherwise. Words
        # are bytes to pydicom, which leaves their order as it was.
        if swap and element.VR == "OW" and element.keyword != "PixelData":
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
    dataset.set_original_encoding(False, True, dataset.original_character_set)
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    content = BytesIO()
    dataset.save_as(content, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return content.getvalue()
