"""Decodes a stored frame to pixels, for rendering; nothing decoded here is passed off as stored."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from teleprefetch import dicom
from teleprefetch.edge.archives.codestream import read_codestream
from teleprefetch.edge.archives.pixels import first_use
from teleprefetch.edge.store.attributes import Attributes, text_of
from teleprefetch.errors import CorruptPayloadError, InvalidPayloadError

_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_RLE: Final = "1.2.840.10008.1.2.5"
_MOST_PIXEL_BYTES: Final = 1 << 27
_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1: SOC, SIZ
_UNCOMPRESSED: Final = frozenset({dicom.EXPLICIT_VR_LITTLE_ENDIAN, _IMPLICIT_VR_LITTLE_ENDIAN})
Pixels = NDArray[Any]
_Decoder = Callable[[bytes], Any]
_JPEG_2000: Final[dict[str, _Decoder]] = {
    dicom.JPEG_2000_LOSSLESS: imagecodecs.jpeg2k_decode,
    dicom.JPEG_2000: imagecodecs.jpeg2k_decode,
    dicom.HTJ2K_LOSSLESS: imagecodecs.htj2k_decode,
    dicom.HTJ2K_LOSSLESS_RPCL: imagecodecs.htj2k_decode,
    dicom.HTJ2K: imagecodecs.htj2k_decode,
}
_JPEG: Final[dict[str, _Decoder]] = {
    dicom.JPEG_BASELINE: imagecodecs.jpeg8_decode,
    "1.2.840.10008.1.2.4.51": imagecodecs.jpeg_decode,
    "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,
}
# ISO/IEC 10918-1 B.1.1.3 and 14495-1 C.1.1: start of frame, of all processes.
_STARTS_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Shape:
    """How the pixels of a frame lie (PS3.3 C.7.6.3.1)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    is_planar: bool
    photometric: str

    @classmethod
    def of(cls, instance: Attributes) -> "Shape":
        """Read an instance's attributes.

        Raises:
            InvalidPayloadError: it has no image, or one of a kind that is not rendered.
        """
        shape = cls(
            rows=_number(instance, "00280010"),
            columns=_number(instance, "00280011"),
            samples=_number(instance, "00280002", 1),
            bits_allocated=_number(instance, "00280100"),
            bits_stored=_number(instance, "00280101"),
            is_signed=_number(instance, "00280103") == 1,
            is_planar=_number(instance, "00280006") == 1,
            photometric=text_of(instance, "00280004"),
        )
        if shape.rows * shape.columns == 0:
            raise InvalidPayloadError("instance: has no image")
        if shape.bits_allocated not in {8, 16} or shape.samples not in {1, 3}:
            raise InvalidPayloadError("instance: its pixels are of a kind that is not rendered")
        if shape.size_bytes > _MOST_PIXEL_BYTES:
            raise InvalidPayloadError("instance: its image is too big to render")
        return shape

    @property
    def size_bytes(self) -> int:
        """How long a frame is without compression."""
        return self.rows * self.columns * self.samples * (self.bits_allocated // 8)


def decode(content: bytes, transfer_syntax_uid: str, shape: Shape) -> Pixels:
    """The pixels, rows by columns, and by samples where there are several.

    Raises:
        CorruptPayloadError: the bytes declare another size than the metadata, or cannot be decoded.
        InvalidPayloadError: the transfer syntax is not decoded here.
    """
    if transfer_syntax_uid in _UNCOMPRESSED:
        return _plain(content, shape)
    if transfer_syntax_uid == _RLE:
        return _run_lengths(content, shape)
    if transfer_syntax_uid in _JPEG_2000:
        read_codestream(content)  # OpenJPH reads beyond what a damaged header says
        _check(_codestream_size(content), shape)
        pixels = _decoded(_JPEG_2000[transfer_syntax_uid], content)
    elif transfer_syntax_uid in _JPEG:
        _check(_jpeg_size(content), shape)
        pixels = _decoded(_JPEG[transfer_syntax_uid], content)
    else:
        raise InvalidPayloadError("frame: its transfer syntax is not rendered")
    if pixels.shape[:2] != (shape.rows, shape.columns):
        raise CorruptPayloadError("frame: its pixels are of another size")
    return _signed(pixels, shape)


def _number(instance: Attributes, tag: str, default: int = 0) -> int:
    text = text_of(instance, tag).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _plain(content: bytes, shape: Shape) -> Pixels:
    if len(content) < shape.size_bytes:
        raise CorruptPayloadError("frame: shorter than its metadata say")
    kind = np.dtype(f"<{'i' if shape.is_signed else 'u'}{shape.bits_allocated // 8}")
    flat = np.frombuffer(content[: shape.size_bytes], kind)
    return _arranged(flat, shape)


def _arranged(flat: Pixels, shape: Shape) -> Pixels:
    if shape.samples == 1:
        return flat.reshape(shape.rows, shape.columns)
    if shape.is_planar:
        return flat.reshape(shape.samples, shape.rows, shape.columns).transpose(1, 2, 0)
    return flat.reshape(shape.rows, shape.columns, shape.samples)


def _run_lengths(content: bytes, shape: Shape) -> Pixels:
    kind = np.dtype(f"<u{shape.bits_allocated // 8}")

    if len(content) < 64 or not 0 < int.from_bytes(content[:4], "little") <= 15:  # PS3.5 G.5
        raise CorruptPayloadError("frame: has no RLE header")
    flat = _decoded(_unpacked_bytes if kind.itemsize == 1 else _unpacked_words, content)
    if flat.size * kind.itemsize != shape.size_bytes:
        raise CorruptPayloadError("frame: its pixels are of another size")
    pixels = flat.reshape(shape.samples, shape.rows, shape.columns)
    single = pixels[0] if shape.samples == 1 else pixels.transpose(1, 2, 0)
    return _signed(single, shape)


def _unpacked_bytes(content: bytes) -> Pixels:
    return np.frombuffer(imagecodecs.dicomrle_decode(content, np.dtype("u1")), "u1")


def _unpacked_words(content: bytes) -> Pixels:
    return np.frombuffer(imagecodecs.dicomrle_decode(content, np.dtype("<u2")), "<u2")


def _decoded(decoder: _Decoder, content: bytes) -> Pixels:
    try:
        with first_use(decoder):
            return np.asarray(decoder(content))
    except (RuntimeError, ValueError, MemoryError):
        # The codecs' own errors are RuntimeErrors; their texts may quote what they read.
        raise CorruptPayloadError("frame: cannot be decoded") from None


def _signed(pixels: Pixels, shape: Shape) -> Pixels:
    """Numbers of `bits_stored` bits in two's complement, where a codec gave them unsigned."""
    if not shape.is_signed or pixels.dtype.kind == "i":
        return pixels
    unused = pixels.dtype.itemsize * 8 - shape.bits_stored
    signed = pixels.view(pixels.dtype.str.replace("u", "i"))
    return (signed << unused) >> unused


def _check(declared: tuple[int, int], shape: Shape) -> None:
    """Refuse before a decoder makes room for what the bytes declare, whatever that is."""
    if declared != (shape.rows, shape.columns):
        raise CorruptPayloadError("frame: declares another size than its metadata")


def _codestream_size(content: bytes) -> tuple[int, int]:
    start = content.find(_CODESTREAM)
    if start < 0 or len(content) < start + 40:
        raise CorruptPayloadError("frame: has no JPEG 2000 codestream")
    right, bottom, left, top = struct.unpack_from(">4I", content, start + 8)
    return bottom - top, right - left


def _jpeg_size(content: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _STARTS_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", content, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise CorruptPayloadError("frame: has no JPEG start of frame")
