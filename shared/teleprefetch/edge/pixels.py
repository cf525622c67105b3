"""Checks a frame as it arrived: its marker, and its pixels against the origin's CRC-32.

A single flipped bit in an HTJ2K frame decodes without an error to other pixels; only the
checksum that HealthImaging states of the decoded pixels tells (developer guide, "Verify pixel
data"). It is zlib's CRC-32 over the whole decoded buffer.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import imagecodecs

from teleprefetch import dicom
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

_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1: SOC, SIZ
_SIGNATURE_BOX: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # ISO/IEC 15444-1 I.5.1: JP2 and JPH
_START_OF_IMAGE: Final = b"\xff\xd8"
_CODING_STYLE: Final = 0xFF52  # ISO/IEC 15444-1 A.6.1: COD
_START_OF_TILE: Final = 0xFF90
_MOST_PIXEL_BYTES: Final = 1 << 27
_MOST_TILES: Final = 65535  # ISO/IEC 15444-1 B.3
_PixelDecoder = Callable[[bytes], Any]


def check_marker(frame: Frame) -> None:
    """Refuse bytes that cannot be a frame of their transfer syntax.

    Raises:
        CorruptPayloadError: they are empty, or begin like something else.
    """
    if not frame.content:
        raise CorruptPayloadError("frame: empty")
    if frame.transfer_syntax_uid in _HTJ2K | _JPEG_2000:
        if not frame.content.startswith((_START_OF_CODESTREAM, _SIGNATURE_BOX)):
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
    if zlib.crc32(pixels) != entry.crc32:
        raise CorruptPayloadError("frame: its pixels do not match the origin's checksum")
    return True


def _decoded(frame: Frame) -> bytes | None:
    syntax, content = frame.transfer_syntax_uid, frame.content
    if syntax in _UNCOMPRESSED:
        return content
    if syntax in {_JPEG_LS_LOSSLESS, _JPEG_LS}:
        return _decode(imagecodecs.jpegls_decode, content)
    if syntax in _HTJ2K | _JPEG_2000:
        if not _is_reversible(_main_header(content)):
            return None
        decoder = imagecodecs.htj2k_decode if syntax in _HTJ2K else imagecodecs.jpeg2k_decode
        return _decode(decoder, content)
    return None


def _decode(decoder: _PixelDecoder, content: bytes) -> bytes:
    try:
        return bytes(decoder(content).tobytes())
    except (RuntimeError, ValueError, MemoryError):
        # The codecs' own errors are RuntimeErrors; their texts may quote what they read.
        raise CorruptPayloadError("frame: cannot be decoded") from None


def _main_header(content: bytes) -> bytes:
    start = content.find(_START_OF_CODESTREAM)
    header = content[start + 2 :] if start >= 0 else b""
    if len(header) < 40:
        raise CorruptPayloadError("frame: its codestream is cut short")
    _check_size(header)
    return header


def _check_size(header: bytes) -> None:
    """Refuse sizes that break ISO/IEC 15444-1 B.2, B.3, before a decoder works on them for long."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        struct.unpack_from(">8IH", header, 6)
    )
    is_image = left < right and top < bottom
    has_first_tile = tile_left <= left < tile_left + tile_width and (
        tile_top <= top < tile_top + tile_height
    )
    if not (is_image and has_first_tile):
        raise CorruptPayloadError("frame: declares an impossible size")
    if (right - left) * (bottom - top) * components * 2 > _MOST_PIXEL_BYTES:
        raise CorruptPayloadError("frame: declares more pixels than a frame may have")
    across, down = -(-(right - tile_left) // tile_width), -(-(bottom - tile_top) // tile_height)
    if across * down > _MOST_TILES:
        raise CorruptPayloadError("frame: declares more tiles than a frame may have")


def _is_reversible(header: bytes) -> bool:
    """Read the wavelet of the main header: 1 is the 5-3 reversible one (Table A.20)."""
    at = 0
    while at + 4 <= len(header):
        marker, length = struct.unpack_from(">2H", header, at)
        if marker == _CODING_STYLE and at + 14 <= len(header):
            return header[at + 13] == 1
        if marker == _START_OF_TILE or marker < 0xFF00:
            break
        at += 2 + length
    raise CorruptPayloadError("frame: its codestream has no coding style")
