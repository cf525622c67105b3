"""Reads the headers of a JPEG 2000 codestream strictly, before a decoder works on it.

One flipped bit in them keeps a decoder busy for seconds, or ends its process: OpenJPH reads
beyond a quantization segment that is shorter than the decomposition levels ask for. What
ISO/IEC 15444-1 Annex A does not allow, and what no frame needs, is refused here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from teleprefetch.errors import CorruptPayloadError

START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1: SOC, SIZ
_SIZ: Final = 0xFF51
_COD: Final = 0xFF52
_QCD: Final = 0xFF5C
_SOT: Final = 0xFF90
_EOC: Final = b"\xff\xd9"
# Table A.2: what may stand in the main header beside SIZ; 15444-15 A.3 has CAP and CPF.
_OTHERS: Final = frozenset(
    {0xFF50, _COD, 0xFF53, 0xFF55, 0xFF56, 0xFF57, 0xFF59, _QCD, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60}
    | {0xFF63, 0xFF64}
)
_MOST_PIXEL_BYTES: Final = 1 << 27
_MOST_TILES: Final = 65535  # B.3
_MOST_COMPONENTS: Final = 4
_MOST_SUBSAMPLING: Final = 4
_MOST_LEVELS: Final = 32  # Table A.15
_MOST_LAYERS: Final = 256
_NO_QUANTIZATION, _DERIVED, _EXPOUNDED = 0, 1, 2  # Table A.28


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the main header of a codestream says, as far as it is needed."""

    is_reversible: bool
    tiles: int


def read_codestream(content: bytes) -> Codestream:
    """The main header of the codestream in a frame, boxed (JP2, JPH) or bare.

    Raises:
        CorruptPayloadError: it breaks the standard, or declares more than a frame may have.
    """
    start = content.find(START_OF_CODESTREAM)
    if start < 0:
        raise CorruptPayloadError("frame: its codestream is cut short")
    segments: dict[int, bytes] = {}
    at = start + 2
    for marker, body, end in _segments(content, at):
        if marker not in _OTHERS and (marker != _SIZ or segments):
            raise CorruptPayloadError("frame: a marker that has no place in the main header")
        segments.setdefault(marker, body)
        at = end
    if not {_SIZ, _COD, _QCD} <= segments.keys():
        raise CorruptPayloadError("frame: its codestream has no coding style")
    tiles = _tiles_of(segments[_SIZ])
    levels, is_reversible = _coding_style(segments[_COD])
    _check_quantization(segments[_QCD], levels)
    _check_tile_parts(content, at, tiles)
    return Codestream(is_reversible=is_reversible, tiles=tiles)


def _segments(content: bytes, at: int) -> Iterator[tuple[int, bytes, int]]:
    """The marker segments up to the first tile: marker, what follows its length, and its end."""
    while True:
        if at + 4 > len(content):
            raise CorruptPayloadError("frame: its codestream is cut short")
        marker, length = struct.unpack_from(">2H", content, at)
        if marker == _SOT:
            return
        end = at + 2 + length
        if length < 2 or end > len(content):
            raise CorruptPayloadError("frame: a marker segment is cut short")
        yield marker, content[at + 4 : end], end
        at = end


def _tiles_of(siz: bytes) -> int:
    """How many tiles there are; A.5.1, and B.2 and B.3 for what the sizes may be."""
    components = struct.unpack_from(">H", siz, 34)[0] if len(siz) >= 36 else 0
    if not 1 <= components <= _MOST_COMPONENTS or len(siz) != 36 + 3 * components:
        raise CorruptPayloadError("frame: declares an impossible number of components")
    for depth, across, down in struct.iter_unpack(">3B", siz[36:]):
        if (depth & 0x7F) + 1 > 32 or not (  # Table A.11 allows 38, decoders here 32
            1 <= across <= _MOST_SUBSAMPLING and 1 <= down <= _MOST_SUBSAMPLING
        ):
            raise CorruptPayloadError("frame: declares an impossible component")
    right, bottom, left, top, width, height, tile_left, tile_top = struct.unpack_from(">8I", siz, 2)
    is_image = left < right and top < bottom
    has_first_tile = tile_left <= left < tile_left + width and tile_top <= top < tile_top + height
    if not (is_image and has_first_tile):
        raise CorruptPayloadError("frame: declares an impossible size")
    if (right - left) * (bottom - top) * components * 2 > _MOST_PIXEL_BYTES:
        raise CorruptPayloadError("frame: declares more pixels than a frame may have")
    tiles = int(-(-(right - tile_left) // width) * -(-(bottom - tile_top) // height))
    if tiles > _MOST_TILES:
        raise CorruptPayloadError("frame: declares more tiles than a frame may have")
    return tiles


def _coding_style(cod: bytes) -> tuple[int, bool]:
    """The decomposition levels, and whether the wavelet is the reversible one (A.6.1)."""
    if len(cod) < 10:
        raise CorruptPayloadError("frame: its coding style is cut short")
    style, order, layers, transform, levels, width, height, _, wavelet = struct.unpack_from(
        ">2BH6B", cod
    )
    precincts = levels + 1 if style & 1 else 0
    is_sound = (
        style <= 7
        and order <= 4
        and 1 <= layers <= _MOST_LAYERS
        and transform <= 1
        and levels <= _MOST_LEVELS
        and max(width, height) <= 8
        and width + height <= 8  # exponents of 2 and more, at most 12 together (Table A.18)
        and wavelet <= 1
        and len(cod) == 10 + precincts
    )
    if not is_sound:
        raise CorruptPayloadError("frame: declares an impossible coding style")
    return levels, wavelet == 1  # Table A.20


def _check_quantization(qcd: bytes, levels: int) -> None:
    """Refuse a segment without a step for each of the 3 x levels + 1 subbands (A.6.4)."""
    lengths = {
        _NO_QUANTIZATION: 1 + 1 + 3 * levels,
        _DERIVED: 1 + 2,
        _EXPOUNDED: 1 + 2 * (1 + 3 * levels),
    }
    if not qcd or len(qcd) != lengths.get(qcd[0] & 0x1F):
        raise CorruptPayloadError("frame: its quantization does not fit its coding style")


def _check_tile_parts(content: bytes, at: int, tiles: int) -> None:
    """Refuse a codestream that lacks a tile of those that it declares (A.4.2)."""
    found: set[int] = set()
    while content[at : at + 2] != _EOC and at + 12 <= len(content):
        marker, length, tile, size = struct.unpack_from(">3HI", content, at)
        if marker != _SOT or length != 10 or tile >= tiles:
            raise CorruptPayloadError("frame: a tile is not where it should be")
        found.add(tile)
        if not size:
            break  # to the end
        if size < 14 or at + size > len(content):
            raise CorruptPayloadError("frame: a tile is cut short")
        at += size
    if len(found) != tiles:
        raise CorruptPayloadError("frame: it lacks a tile")
