import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleprefetch import dicom
from teleprefetch.edge.archives.codestream import read_codestream
from teleprefetch.edge.archives.pixels import check_marker, check_pixels
from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Frame, FrameEntry
from tests.edge.fakes_for_node import coded_image

PIXELS = np.random.default_rng(5).integers(0, 4000, (32, 32)).astype("uint16")
CRC = zlib.crc32(PIXELS.tobytes())
CODED = {
    dicom.HTJ2K_LOSSLESS: imagecodecs.htj2k_encode(PIXELS),
    dicom.HTJ2K_LOSSLESS_RPCL: imagecodecs.htj2k_encode(PIXELS),
    dicom.JPEG_2000_LOSSLESS: imagecodecs.jpeg2k_encode(
        PIXELS, level=0, reversible=True, codecformat="j2k"
    ),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(PIXELS),
    dicom.EXPLICIT_VR_LITTLE_ENDIAN: PIXELS.tobytes(),
}


def entry(crc32):
    return FrameEntry(sop_instance_uid="1.2", frame_number=1, crc32=crc32)


@pytest.mark.parametrize("syntax", CODED)
def test_pixels_that_match_are_told_so(syntax):
    frame = Frame(content=CODED[syntax], transfer_syntax_uid=syntax)
    check_marker(frame)
    assert check_pixels(entry(CRC), frame)


@pytest.mark.parametrize("syntax", CODED)
def test_other_pixels_are_refused(syntax):
    frame = Frame(content=CODED[syntax], transfer_syntax_uid=syntax)
    with pytest.raises(CorruptPayloadError):
        check_pixels(entry(CRC ^ 1), frame)


# The decoder prints an error of its own in the middle of a damaged frame, and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 8 * len(coded_image(5)[0]) - 1))
def test_no_flipped_bit_passes_for_the_original(bit):
    content, crc32 = coded_image(5)
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    frame = Frame(content=bytes(flipped), transfer_syntax_uid=dicom.HTJ2K_LOSSLESS)
    try:
        check_marker(frame)
        checked = check_pixels(entry(crc32), frame)
    except CorruptPayloadError:
        return
    # What passes decodes to the same pixels (a comment's bit), or is not called checked.
    if checked:
        assert zlib.crc32(imagecodecs.htj2k_decode(frame.content).tobytes()) == crc32


@pytest.mark.parametrize("syntax", [dicom.HTJ2K_LOSSLESS, dicom.JPEG_2000_LOSSLESS])
@settings(deadline=None, max_examples=40)
@given(cut=st.integers(0, 200))
def test_a_cut_frame_is_refused(syntax, cut):
    content = CODED[syntax][: cut * len(CODED[syntax]) // 201]
    frame = Frame(content=content, transfer_syntax_uid=syntax)
    with pytest.raises(CorruptPayloadError):
        check_marker(frame) or check_pixels(entry(CRC), frame)


@pytest.mark.parametrize(
    ("syntax", "content"),
    [
        (dicom.HTJ2K_LOSSLESS, b""),
        (dicom.HTJ2K_LOSSLESS, b"<html>"),
        (dicom.JPEG_2000, b"\xff\xd8\xff"),
        (dicom.JPEG_BASELINE, b"\xff\x4f\xff\x51"),
        (dicom.EXPLICIT_VR_LITTLE_ENDIAN, b""),
    ],
)
def test_bytes_of_another_kind_are_refused(syntax, content):
    with pytest.raises(CorruptPayloadError):
        check_marker(Frame(content=content, transfer_syntax_uid=syntax))


@pytest.mark.parametrize("content", [b"\xff\x4f\xff\x51xx", b"\x00\x00\x00\x0cjP  \r\n\x87\nxx"])
def test_a_codestream_and_a_boxed_one_are_both_known(content):
    check_marker(Frame(content=content, transfer_syntax_uid=dicom.HTJ2K_LOSSLESS))


def test_without_a_checksum_or_a_decoder_pixels_are_not_called_checked():
    coded = Frame(content=CODED[dicom.HTJ2K_LOSSLESS], transfer_syntax_uid=dicom.HTJ2K_LOSSLESS)
    assert not check_pixels(entry(None), coded)
    jpeg = Frame(content=b"\xff\xd8", transfer_syntax_uid=dicom.JPEG_BASELINE)
    assert not check_pixels(entry(CRC), jpeg)


def test_an_irreversible_codestream_is_not_called_checked():
    lossy = imagecodecs.jpeg2k_encode(PIXELS, level=40, reversible=False, codecformat="j2k")
    frame = Frame(content=lossy, transfer_syntax_uid=dicom.JPEG_2000)
    assert not check_pixels(entry(CRC), frame)


@pytest.mark.parametrize(("at", "number"), [(16, 1 << 24), (24, 0), (24, 1), (32, 5)])
def test_a_header_with_impossible_tiles_is_refused_before_it_is_decoded(at, number):
    damaged = bytearray(CODED[dicom.HTJ2K_LOSSLESS])
    damaged[8:16] = (4000).to_bytes(4, "big") * 2
    damaged[24:32] = (4000).to_bytes(4, "big") + (1).to_bytes(4, "big")
    damaged[at : at + 4] = number.to_bytes(4, "big")
    frame = Frame(content=bytes(damaged), transfer_syntax_uid=dicom.HTJ2K_LOSSLESS)
    with pytest.raises(CorruptPayloadError, match=r"impossible|more tiles"):
        check_pixels(entry(CRC), frame)


def test_a_header_that_declares_a_giant_image_is_refused_before_it_is_decoded():
    bomb = bytearray(CODED[dicom.HTJ2K_LOSSLESS])
    bomb[8:16] = (60_000).to_bytes(4, "big") * 2
    frame = Frame(content=bytes(bomb), transfer_syntax_uid=dicom.HTJ2K_LOSSLESS)
    with pytest.raises(CorruptPayloadError, match="more pixels"):
        check_pixels(entry(CRC), frame)


@pytest.mark.parametrize("syntax", [dicom.HTJ2K_LOSSLESS, dicom.JPEG_2000_LOSSLESS])
def test_no_flipped_bit_of_the_headers_keeps_or_ends_the_decoder(syntax):
    """One of them, in the length of QCD, once ended the whole process."""
    content, refused = CODED[syntax], 0
    for bit in range(16, 8 * content.find(b"\xff\x93")):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read_codestream(bytes(flipped))
        except CorruptPayloadError:
            refused += 1
    assert refused > 300


def test_a_quantization_that_is_too_short_for_its_levels_is_refused():
    damaged = bytearray(CODED[dicom.HTJ2K_LOSSLESS])
    at = damaged.find(b"\xff\x5c") + 3
    assert damaged[at] == 4 + 3 * 5
    del damaged[at + 4 : at + 4 + 12]
    damaged[at] -= 12
    with pytest.raises(CorruptPayloadError, match="quantization"):
        read_codestream(bytes(damaged))


def test_a_codestream_that_lacks_a_tile_is_refused_before_it_is_decoded():
    damaged = bytearray(CODED[dicom.HTJ2K_LOSSLESS])
    damaged[24:32] = (16).to_bytes(4, "big") * 2
    with pytest.raises(CorruptPayloadError, match="tile"):
        read_codestream(bytes(damaged))


def test_codestreams_of_other_shapes_are_read():
    colour = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype("uint8")
    for content in (
        imagecodecs.htj2k_encode(colour),
        imagecodecs.jpeg2k_encode(colour, level=0, reversible=True, codecformat="jp2"),
        imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, resolutions=2),
        imagecodecs.htj2k_encode(PIXELS, reversible=True, tile=(16, 16)),
        imagecodecs.htj2k_encode(PIXELS, reversible=True, tlm=True),
        imagecodecs.htj2k_encode(PIXELS, reversible=True, resolutions=3),
    ):
        assert read_codestream(content).is_reversible
    lossy = imagecodecs.jpeg2k_encode(PIXELS, level=40, reversible=False)
    assert not read_codestream(lossy).is_reversible
