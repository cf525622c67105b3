"""DICOM vocabulary: UIDs, dates and transfer syntaxes, validated before anything uses them."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"

# PS3.5 9.1: components of digits without leading zeros, at most 64 characters. `fullmatch`, since
# `$` also matches before a final newline, which would let one into keys, headers and logs.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*", re.ASCII)


def is_uid(text: str) -> bool:
    """Tell whether `text` is a UID by PS3.5 9.1."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _valid_uid(text: str) -> str:
    if not is_uid(text):
        raise ValueError("not a DICOM UID (PS3.5 9.1)")
    return text


DicomUid = Annotated[str, AfterValidator(_valid_uid)]

# PS3.18 Table 8.7.3-5 pairs media types with transfer syntaxes; `image/jphc` is HTJ2K's.
_MEDIA_TYPES: Final = {
    JPEG_BASELINE: "image/jpeg",
    JPEG_2000_LOSSLESS: "image/jp2",
    JPEG_2000: "image/jp2",
    HTJ2K_LOSSLESS: "image/jphc",
    HTJ2K_LOSSLESS_RPCL: "image/jphc",
    HTJ2K: "image/jphc",
}


def media_type_of(transfer_syntax_uid: str) -> str:
    """The media type of one frame in a transfer syntax; uncompressed is an octet stream."""
    return _MEDIA_TYPES.get(transfer_syntax_uid, "application/octet-stream")
