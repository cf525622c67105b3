import random
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from teleprefetch.local.healthimaging.damage import files_taken_as_they_are
from teleprefetch.local.healthimaging.ingest import ImportRefusedError, ingest
from teleprefetch.local.healthimaging.segment import Segment
from tests.local.healthimaging_fixtures import (
    Slice,
    bundled,
    written,
)

pytestmark = pytest.mark.usefixtures("_odd_files")

HTJ2K = "1.2.840.10008.1.2.4.202"
LITTLE = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.91"

# name, what it is stored as, how many frames it has
REAL = [
    ("CT_small.dcm", HTJ2K, 1),
    ("MR_small.dcm", HTJ2K, 1),
    ("MR_small_bigendian.dcm", HTJ2K, 1),
    ("MR_small_implicit.dcm", HTJ2K, 1),
    ("MR_small_RLE.dcm", HTJ2K, 1),
    ("MR_small_jp2klossless.dcm", HTJ2K, 1),
    ("MR_small_jpeg_ls_lossless.dcm", HTJ2K, 1),
    ("image_dfl.dcm", HTJ2K, 1),
    ("SC_rgb_jpeg_gdcm.dcm", HTJ2K, 1),
    ("SC_rgb_rle_16bit_2frame.dcm", HTJ2K, 2),
    ("ExplVR_BigEnd.dcm", HTJ2K, 1),
    ("SC_rgb_small_odd_big_endian.dcm", HTJ2K, 1),
    ("examples_palette.dcm", HTJ2K, 1),
    ("rtdose.dcm", HTJ2K, 15),
    ("JPGExtended.dcm", HTJ2K, 1),
    ("examples_ybr_color.dcm", JPEG, 30),
    ("JPEG2000.dcm", J2K, 1),
    ("liver_1frame.dcm", LITTLE, 1),
]
DECODERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    HTJ2K: imagecodecs.htj2k_decode,
    JPEG: imagecodecs.jpeg8_decode,
    J2K: imagecodecs.jpeg2k_decode,
    LITTLE: lambda content: np.frombuffer(content, np.uint8),
}
CONTENT_TYPES = {
    HTJ2K: "image/jph",
    JPEG: "image/jpeg",
    J2K: "image/j2c",
    LITTLE: "application/octet-stream",
}


@pytest.fixture
def _odd_files() -> Iterator[None]:
    """Warnings of pydicom are no errors, as while the service runs."""
    with files_taken_as_they_are():
        yield


@pytest.mark.parametrize(("name", "stored_as", "count"), REAL)
def test_a_real_file_is_stored_with_the_checksums_of_its_pixels(
    name: str, stored_as: str, count: int
) -> None:
    with Segment() as segment:
        instance = ingest(bundled(name), segment=segment, studies_url="http://x/studies")
        assert instance.stored_transfer_syntax_uid == stored_as
        assert instance.warnings == ()
        assert len(instance.frames) == count
        for frame in instance.frames:
            pixels = DECODERS[stored_as](segment.read(frame.extent))
            assert frame.checksum == zlib.crc32(pixels.tobytes())
            assert frame.decoded_bytes == pixels.nbytes


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "examples_rgb_color.dcm"]
)
def test_uncompressed_pixels_survive_bit_by_bit(name: str) -> None:
    raw = dcmread(BytesIO(bundled(name))).PixelData
    with Segment() as segment:
        (frame,) = ingest(bundled(name), segment=segment, studies_url="").frames
        assert imagecodecs.htj2k_decode(segment.read(frame.extent)).tobytes() == raw
        assert frame.checksum == zlib.crc32(raw)


@pytest.mark.parametrize(
    "names",
    [
        [
            "MR_small.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_implicit.dcm",
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
        ],
        ["liver_1frame.dcm", "liver_expb_1frame.dcm"],
        ["rtdose_1frame.dcm", "rtdose_expb_1frame.dcm", "rtdose_rle_1frame.dcm"],
        ["SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"],
    ],
)
def test_the_same_picture_in_any_lossless_syntax_has_the_same_checksum(names: list[str]) -> None:
    with Segment() as segment:
        checksums = {
            ingest(bundled(name), segment=segment, studies_url="").frames[0].checksum
            for name in names
        }
    assert len(checksums) == 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[0, 255], [7, 1]], np.uint8),
        np.array([[-128, 127], [7, 1]], np.int8),
        np.array([[0, 65535], [7, 1]], np.uint16),
        np.array([[-32768, 32767], [7, 1]], np.int16),
        np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7),
    ],
    ids=lambda pixels: f"{pixels.dtype}-{pixels.ndim}d",
)
def test_every_width_and_sign_of_sample_is_lossless(pixels: np.ndarray) -> None:
    with Segment() as segment:
        instance = ingest(Slice(pixels=pixels).p10(), segment=segment, studies_url="")
        decoded = [
            imagecodecs.htj2k_decode(segment.read(frame.extent)) for frame in instance.frames
        ]
        assert np.stack(decoded).tobytes() == pixels.tobytes()
        assert instance.frames[0].minimum == (pixels if pixels.ndim == 2 else pixels[0]).min()


@pytest.mark.parametrize("number", ["201", "202"])
def test_htj2k_is_stored_as_htj2k_with_rpcl(number: str) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    codestream = bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    p10 = _encapsulated(pixels, [codestream], f"1.2.840.10008.1.2.4.{number}")
    with Segment() as segment:
        instance = ingest(p10, segment=segment, studies_url="")
        assert instance.stored_transfer_syntax_uid == HTJ2K
        (frame,) = instance.frames
        stored = segment.read(frame.extent)
        assert frame.checksum == zlib.crc32(pixels.tobytes())
        assert stored.startswith(codestream) is (number == "202")
        progression_order = stored[stored.index(b"\xff\x52") + 5]
        assert progression_order == 2


def test_a_video_is_one_frame_without_a_checksum() -> None:
    stream = b"\x00\x00\x01\xb3" + bytes(60)
    p10 = _encapsulated(np.zeros((4, 4), np.uint8), [stream], "1.2.840.10008.1.2.4.103")
    with Segment() as segment:
        instance = ingest(p10, segment=segment, studies_url="")
        (frame,) = instance.frames
        assert segment.read(frame.extent) == stream
        assert frame.checksum is None
        assert instance.stored_transfer_syntax_uid == "1.2.840.10008.1.2.4.103"


def test_damaged_files_are_imported_or_refused_but_never_break_the_import() -> None:
    generator = random.Random(20240131)  # noqa: S311 - the same mutations each time
    files = [bundled(name) for name, *_ in REAL[:6]]
    with Segment() as segment:
        outcomes = [_survives(generator, generator.choice(files), segment) for _ in range(300)]
    assert set(outcomes) == {True, False}


def _survives(generator: random.Random, file: bytes, segment: Segment) -> bool:
    damaged = bytearray(file)
    for _ in range(3):
        damaged[generator.randrange(2000)] = generator.randrange(256)
    try:
        ingest(bytes(damaged), segment=segment, studies_url="")
    except ImportRefusedError:
        return False
    return True


def _encapsulated(pixels: np.ndarray, frames: list[bytes], transfer_syntax_uid: str) -> bytes:
    dataset = dcmread(BytesIO(Slice(pixels=pixels).p10()))
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def test_a_file_whose_pixels_cannot_be_transcoded_is_kept_as_it_came() -> None:
    p10 = _encapsulated(np.zeros((4, 4), np.uint8), [b"nonsense"], "1.2.840.10008.1.2.4.90")
    odd = _encapsulated(np.zeros((4, 4), np.uint8), [b"nonsense"], "1.2.840.10008.1.2.4.94")
    with Segment() as segment:
        instance = ingest(p10, segment=segment, studies_url="")
        assert [warning.code for warning in instance.warnings] == [45312]
        assert segment.read(instance.p10) == p10
        assert instance.stored_transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
        assert [
            warning.code for warning in ingest(odd, segment=segment, studies_url="").warnings
        ] == [45344]


def test_a_frame_count_that_does_not_match_the_fragments_is_warned_of() -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    p10 = _encapsulated(pixels, [b"a", b"b", b"c"], "1.2.840.10008.1.2.4.90")
    with Segment() as segment:
        (warning,) = ingest(p10, segment=segment, studies_url="").warnings
        assert warning.code in {45329, 45330}


def test_a_file_without_the_identifiers_is_refused_by_attribute() -> None:
    dataset = dcmread(BytesIO(Slice().p10()))
    del dataset.StudyInstanceUID
    with Segment() as segment, pytest.raises(ImportRefusedError, match="StudyInstanceUID"):
        ingest(written(dataset), segment=segment, studies_url="")
