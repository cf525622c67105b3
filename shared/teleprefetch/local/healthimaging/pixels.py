"""Frames: taken out of Pixel Data, decoded, encoded without loss, and their checksums.

What is kept and what is transcoded follows the developer guide, "Supported transfer syntaxes";
the checksum is zlib's CRC-32 over the whole decoded buffer of a frame, little endian ("Verifying
pixel data").
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder

from teleprefetch.dicom import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
)
from teleprefetch.local.healthimaging.damage import UNREADABLE

Pixels = np.ndarray[Any, np.dtype[Any]]

_JPEG: Final = "1.2.840.10008.1.2.4."
JPEG_XL: Final = _JPEG + "112"
_NATIVE: Final = {
    "1.2.840.10008.1.2",
    EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",  # RLE: pydicom decodes it itself, as it does the uncompressed ones
}
_VIDEO: Final = {
    _JPEG + number for number in ("100", "101", "102", "103", "104", "105", "106", "107", "108")
} | {_JPEG + number + ".1" for number in ("100", "101", "102", "103", "104", "105", "106")}
_CODECS: Final[dict[str, Callable[[bytes], Pixels]]] = {
    JPEG_BASELINE: imagecodecs.jpeg8_decode,
    _JPEG + "51": imagecodecs.jpeg8_decode,
    _JPEG + "57": imagecodecs.ljpeg_decode,
    _JPEG + "70": imagecodecs.ljpeg_decode,
    _JPEG + "80": imagecodecs.jpegls_decode,
    _JPEG + "81": imagecodecs.jpegls_decode,
    JPEG_2000_LOSSLESS: imagecodecs.jpeg2k_decode,
    JPEG_2000: imagecodecs.jpeg2k_decode,
    HTJ2K_LOSSLESS: imagecodecs.htj2k_decode,
    HTJ2K_LOSSLESS_RPCL: imagecodecs.htj2k_decode,
    HTJ2K: imagecodecs.htj2k_decode,
    _JPEG + "110": imagecodecs.jpegxl_decode,
    _JPEG + "111": imagecodecs.jpegxl_decode,
    JPEG_XL: imagecodecs.jpegxl_decode,
}
# HTJ2K_LOSSLESS is not among them: it is stored as HTJ2K_LOSSLESS_RPCL, like anything lossless.
_KEPT: Final = {JPEG_BASELINE, JPEG_2000, HTJ2K_LOSSLESS_RPCL, HTJ2K, JPEG_XL}


class PixelError(Exception):
    """The frames cannot be had one by one; it is the reason code of the warning, and its type."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as it is stored, and what its decoded pixels are like."""

    content: bytes
    rows: int
    columns: int
    decoded_bytes: int = 0
    checksum: int | None = None
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    """How one sample is held (PS3.3 C.7.6.3.1)."""

    bits_allocated: int
    bits_stored: int
    is_signed: bool

    def applied_to(self, pixels: Pixels) -> Pixels:
        """Decoded pixels in the type that the header speaks of: codestreams are often unsigned."""
        size = 8 * ((self.bits_allocated + 7) // 8)
        unsigned = pixels.astype(f"u{size // 8}", copy=False)
        if not self.is_signed:
            return unsigned
        spare = size - self.bits_stored
        signed: Pixels = np.left_shift(unsigned, spare).view(f"i{size // 8}")
        return signed >> spare


def is_video(transfer_syntax_uid: str) -> bool:
    """Tell whether an instance is one MPEG, H.264 or HEVC stream."""
    return transfer_syntax_uid in _VIDEO


def stored_transfer_syntax(dataset: Dataset, transfer_syntax_uid: str) -> str:
    """The transfer syntax that an instance is stored in, if all goes well."""
    if transfer_syntax_uid in _KEPT or is_video(transfer_syntax_uid):
        return transfer_syntax_uid
    if dataset.get("BitsAllocated") == 1:
        return EXPLICIT_VR_LITTLE_ENDIAN
    return HTJ2K_LOSSLESS_RPCL


def frames_of(dataset: Dataset, transfer_syntax_uid: str) -> Iterator[EncodedFrame]:
    """The frames of an instance in the order of Pixel Data, as they are to be stored.

    Raises:
        PixelError: they cannot be had; the instance is then stored as it came.
    """
    if is_video(transfer_syntax_uid):
        read: Callable[[Dataset, str], Iterator[EncodedFrame]] = _whole_video
    elif transfer_syntax_uid in _NATIVE:
        read = _native_frames
    elif transfer_syntax_uid in _CODECS:
        read = _encapsulated_frames
    else:
        raise PixelError(45344, "UnsupportedTransferSyntax", "Transfer syntax is not supported")
    try:
        yield from read(dataset, transfer_syntax_uid)
    except UNREADABLE as error:
        raise PixelError(
            45328, "FramesExtractionFailure", "Pixel data does not hold the frames it should"
        ) from error


def decode(content: bytes, transfer_syntax_uid: str) -> bytes | None:
    """The pixels of a stored frame, little endian; None if nothing here can decode it."""
    if transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return content
    codec = _CODECS.get(transfer_syntax_uid)
    return None if codec is None else codec(content).tobytes()


def _native_frames(dataset: Dataset, transfer_syntax_uid: str) -> Iterator[EncodedFrame]:
    decoder = get_decoder(transfer_syntax_uid)
    for pixels, _ in decoder.iter_array(dataset, raw=True):
        yield _bitmap(pixels) if dataset.BitsAllocated == 1 else _lossless(pixels)


def _encapsulated_frames(dataset: Dataset, transfer_syntax_uid: str) -> Iterator[EncodedFrame]:
    sample = _sample_of(dataset)
    codec = _CODECS[transfer_syntax_uid]
    keep = transfer_syntax_uid in _KEPT
    for content in _fragments(dataset):
        try:
            decoded = codec(content)
            if keep:
                yield _described(content, decoded, decoded.tobytes())
            else:
                yield _lossless(sample.applied_to(decoded))
        except UNREADABLE as error:
            raise PixelError(
                45312, "TranscodingException", "Pixel data cannot be transcoded"
            ) from error


def _sample_of(dataset: Dataset) -> _Sample:
    allocated = int(dataset.get("BitsAllocated") or 8)
    return _Sample(
        allocated,
        int(dataset.get("BitsStored") or allocated),
        dataset.get("PixelRepresentation") == 1,
    )


def _fragments(dataset: Dataset) -> list[bytes]:
    expected = int(dataset.get("NumberOfFrames") or 1)
    try:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=expected))
    except (ValueError, struct.error, EOFError) as error:
        raise _boundary_error(dataset) from error
    if len(frames) != expected:
        raise _boundary_error(dataset)
    return frames


def _boundary_error(dataset: Dataset) -> PixelError:
    try:
        has_offsets = bool(parse_basic_offsets(dataset.PixelData))
    except (ValueError, struct.error):
        has_offsets = True
    if has_offsets:
        return PixelError(45330, "InvalidOffsetTable", "The basic offset table is invalid")
    return PixelError(
        45329, "FrameNumberMismatch", "NumberOfFrames does not match the fragments of PixelData"
    )


def _whole_video(dataset: Dataset, _: str) -> Iterator[EncodedFrame]:
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    yield EncodedFrame(stream, int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))


def _bitmap(pixels: Pixels) -> EncodedFrame:
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    return _described(packed, pixels, packed)


def _lossless(pixels: Pixels) -> EncodedFrame:
    # Pixels of a big endian file come in its byte order, which the encoder does not look at.
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    # Tile-parts by resolution with their lengths up front let a prefix be decoded.
    content = imagecodecs.htj2k_encode(little, reversible=True, tlm=True, tilepart=1)
    return _described(bytes(content), little, little.tobytes())


def _described(content: bytes, pixels: Pixels, decoded: bytes) -> EncodedFrame:
    return EncodedFrame(
        content=content,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        decoded_bytes=len(decoded),
        checksum=zlib.crc32(decoded),
        minimum=int(pixels.min()),
        maximum=int(pixels.max()),
    )
