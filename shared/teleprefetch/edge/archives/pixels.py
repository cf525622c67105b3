"""Checks a frame as it arrived: its marker, and its pixels against the origin's CRC-32.

A single flipped bit in an HTJ2K frame decodes without an error to other pixels; only the
checksum that HealthImaging states of the decoded pixels tells (developer guide, "Verify pixel
data"). It is zlib's CRC-32 over the whole decoded buffer; libdeflate makes the same number in a
ninth of zlib's time.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import imagecodecs
import numpy as np

from teleprefetch import dicom
from teleprefetch.edge.archives.codestream import START_OF_CODESTREAM, read_codestream
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry

_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
_JPEG_LS: Final = "1.2.840.10008.1.2.4.81"
# PS3.5 A.4.1: the JPEG family, all of which begin with a start-of-image marker.
_JPEG: Final = frozenset(
    {
        dicom.JPEG_BASELINE,
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        _JPEG_LS_LOSSLESS,
        _JPEG_LS,
    }
)
_HTJ2K: Final = frozenset({dicom.HTJ2K_LOSSLESS, dicom.HTJ2K_LOSSLESS_RPCL, dicom.HTJ2K})
_JPEG_2000: Final = frozenset({dicom.JPEG_2000_LOSSLESS, dicom.JPEG_2000})
_UNCOMPRESSED: Final = frozenset({dicom.EXPLICIT_VR_LITTLE_ENDIAN, _IMPLICIT_VR_LITTLE_ENDIAN})

_SIGNATURE_BOX: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # ISO/IEC 15444-1 I.5.1: JP2 and JPH
_START_OF_IMAGE: Final = b"\xff\xd8"
_PixelDecoder = Callable[[bytes], Any]
_USED: Final[set[str]] = set()
_FIRST_USE: Final = threading.Lock()


def check_marker(frame: Frame) -> None:
    """Refuse bytes that cannot be a frame of their transfer syntax.

    Raises:
        CorruptPayloadError: they are empty, or begin like something else.
    """
    if not frame.content:
        raise CorruptPayloadError("frame: empty")
    if frame.transfer_syntax_uid in _HTJ2K | _JPEG_2000:
        if not frame.content.startswith((START_OF_CODESTREAM, _SIGNATURE_BOX)):
            raise CorruptPayloadError("frame: does not begin as a JPEG 2000 codestream")
    elif frame.transfer_syntax_uid in _JPEG and not frame.content.startswith(_START_OF_IMAGE):
        raise CorruptPayloadError("frame: does not begin as a JPEG image")


def check_pixels(entry: FrameEntry, frame: Frame) -> bool:
    """Compare the decoded pixels with the origin's checksum; False if that cannot be done here.

    It cannot without a checksum, for a transfer syntax that is not decoded here, and for an
    irreversible one, of which two decoders may make different pixels.

    Raises:
        CorruptPayloadError: the pixels are others, or cannot be decoded.
    """
    if entry.crc32 is None:
        return False
    pixels = _decoded(frame)
    if pixels is None:
        return False
    if imagecodecs.deflate_crc32(pixels) != entry.crc32:
        raise CorruptPayloadError("frame: its pixels do not match the origin's checksum")
    return True


def _decoded(frame: Frame) -> Any:
    """The pixels as a buffer: a copy of them would be the largest thing in memory."""
    syntax, content = frame.transfer_syntax_uid, frame.content
    if syntax in _UNCOMPRESSED:
        return content
    if syntax in {_JPEG_LS_LOSSLESS, _JPEG_LS}:
        return _decode(imagecodecs.jpegls_decode, content)
    if syntax in _HTJ2K | _JPEG_2000:
        if not read_codestream(content).is_reversible:
            return None
        decoder = imagecodecs.htj2k_decode if syntax in _HTJ2K else imagecodecs.jpeg2k_decode
        return _decode(decoder, content)
    return None


def _decode(decoder: _PixelDecoder, content: bytes) -> Any:
    try:
        with first_use(decoder):
            return np.ascontiguousarray(decoder(content)).data.cast("B")
    except (RuntimeError, ValueError, MemoryError):
        # The codecs' own errors are RuntimeErrors; their texts may quote what they read.
        raise CorruptPayloadError("frame: cannot be decoded") from None


def first_use(decoder: _PixelDecoder) -> AbstractContextManager[Any]:
    """Nobody else decodes during the first use: codecs fill tables then, without a lock."""
    if decoder.__name__ in _USED:
        return nullcontext()
    return _alone(decoder.__name__)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    with _FIRST_USE:
        yield
        _USED.add(name)
