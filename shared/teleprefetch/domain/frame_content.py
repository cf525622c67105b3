"""What a frame's bytes say of their own encoding, against what an archive says of them."""

from typing import Final

from teleprefetch.dicom import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
)
from teleprefetch.errors import CorruptPayloadError

_UNCOMPRESSED: Final = frozenset(
    {
        "1.2.840.10008.1.2",
        EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    }
)
_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ (ISO/IEC 15444-1 A.4.1, A.5.1)
_BOXES: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # a JP2 or JPH file (15444-1 I.5.1)
_RSIZ_HAS_CAP: Final = 0x4000  # 15444-1 A.5.1, 15444-15 A.2: high throughput

# GetImageFrame, "contentType": by the transfer syntax that is stored.
_IMAGE_FRAME_TYPES: Final = {
    "image/jph": HTJ2K_LOSSLESS_RPCL,
    "image/jphc": HTJ2K,
    "image/j2c": JPEG_2000,
    "image/jp2": JPEG_2000_LOSSLESS,
    "image/jpeg": JPEG_BASELINE,
    "image/jxl": "1.2.840.10008.1.2.4.112",
    "application/octet-stream": EXPLICIT_VR_LITTLE_ENDIAN,
}
_JPEG_2000_FAMILY: Final = frozenset({HTJ2K_LOSSLESS_RPCL, HTJ2K, JPEG_2000, JPEG_2000_LOSSLESS})


def check_declared(content: bytes, *, transfer_syntax_uid: str, uncompressed_bytes: int) -> None:
    """Return if the bytes can be what the archive declares them to be.

    Orthanc 1.10 sends HTJ2K as if it were uncompressed; a viewer would show noise.

    Args:
        content: the frame.
        transfer_syntax_uid: what the archive says that it is.
        uncompressed_bytes: the frame's length without compression; 0 if that is not known.

    Raises:
        CorruptPayloadError: it is declared uncompressed, and is a JPEG 2000 codestream or of
            another length.
    """
    if not content:
        raise CorruptPayloadError("frame: empty")
    if transfer_syntax_uid not in _UNCOMPRESSED:
        return
    if content.startswith(_CODESTREAM):
        raise CorruptPayloadError("frame: declared uncompressed, is a JPEG 2000 codestream")
    # PS3.5 8.2: pixel data is padded to an even length.
    if uncompressed_bytes and not 0 <= len(content) - uncompressed_bytes <= uncompressed_bytes % 2:
        raise CorruptPayloadError("frame: declared uncompressed, is of another length")


def transfer_syntax_of_image_frame(content: bytes, content_type: str) -> str:
    """The transfer syntax of what GetImageFrame answered.

    JPEG 2000 and its high-throughput kind are told apart by the bytes: a data store that keeps
    lossless frames as JPEG 2000 has no content type of its own in the service's documentation.

    Raises:
        CorruptPayloadError: the content type is unknown, or the bytes are of another kind.
    """
    declared = _IMAGE_FRAME_TYPES.get(content_type.partition(";")[0].strip().lower())
    if declared is None:
        raise CorruptPayloadError("frame contentType: not one of GetImageFrame's for single frames")
    check_declared(content, transfer_syntax_uid=declared, uncompressed_bytes=0)
    if declared not in _JPEG_2000_FAMILY:
        return declared
    if content.startswith(_BOXES):
        return declared
    if not content.startswith(_CODESTREAM) or len(content) < 8:
        raise CorruptPayloadError("frame: not the codestream that contentType says")
    if int.from_bytes(content[6:8], "big") & _RSIZ_HAS_CAP:
        return HTJ2K if declared == HTJ2K else HTJ2K_LOSSLESS_RPCL
    return JPEG_2000 if declared == JPEG_2000 else JPEG_2000_LOSSLESS
