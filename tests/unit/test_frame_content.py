import pytest

from teleprefetch.dicom import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
)
from teleprefetch.domain.frame_content import check_declared, transfer_syntax_of_image_frame
from teleprefetch.errors import CorruptPayloadError

PLAIN_J2K = bytes.fromhex("ff4f ff51 0029 0000") + b"rest"
HIGH_THROUGHPUT = bytes.fromhex("ff4f ff51 0029 4000") + b"rest"
BOXED = b"\x00\x00\x00\x0cjP  \r\n\x87\nrest"


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (HIGH_THROUGHPUT, "image/jph", HTJ2K_LOSSLESS_RPCL),
        (HIGH_THROUGHPUT, "image/jphc", HTJ2K),
        (PLAIN_J2K, "image/jph", JPEG_2000_LOSSLESS),
        (PLAIN_J2K, "image/j2c", JPEG_2000),
        (BOXED, "image/jph", HTJ2K_LOSSLESS_RPCL),
        (b"\xff\xd8\xff", "IMAGE/JPEG; q=1", JPEG_BASELINE),
        (b"\x01\x02", "application/octet-stream", EXPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_an_image_frame_is_what_its_type_and_bytes_tell(content, content_type, expected):
    assert transfer_syntax_of_image_frame(content, content_type) == expected


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<html>", "image/jph"),
        (b"", "image/jph"),
        (b"\xff\x4f\xff\x51", "image/jph"),
        (HIGH_THROUGHPUT, "application/octet-stream"),
        (HIGH_THROUGHPUT, "text/html"),
        (HIGH_THROUGHPUT, "video/mp4"),
    ],
)
def test_an_image_frame_that_contradicts_its_type_is_corrupt(content, content_type):
    with pytest.raises(CorruptPayloadError, match=r"^frame"):
        transfer_syntax_of_image_frame(content, content_type)


@pytest.mark.parametrize(
    ("content", "transfer_syntax_uid", "uncompressed_bytes", "named"),
    [
        (HIGH_THROUGHPUT, EXPLICIT_VR_LITTLE_ENDIAN, 0, "codestream"),
        (HIGH_THROUGHPUT, "1.2.840.10008.1.2", len(HIGH_THROUGHPUT), "codestream"),
        (b"abcd", EXPLICIT_VR_LITTLE_ENDIAN, 6, "another length"),
        (b"abcdef", EXPLICIT_VR_LITTLE_ENDIAN, 4, "another length"),
        (b"", HTJ2K, 4, "empty"),
    ],
)
def test_a_frame_that_is_not_what_it_is_declared_to_be_is_corrupt(
    content, transfer_syntax_uid, uncompressed_bytes, named
):
    with pytest.raises(CorruptPayloadError, match=named):
        check_declared(
            content,
            transfer_syntax_uid=transfer_syntax_uid,
            uncompressed_bytes=uncompressed_bytes,
        )


@pytest.mark.parametrize(
    ("content", "transfer_syntax_uid", "uncompressed_bytes"),
    [
        (b"abcd", EXPLICIT_VR_LITTLE_ENDIAN, 4),
        (b"abcd", EXPLICIT_VR_LITTLE_ENDIAN, 3),
        (b"abcd", EXPLICIT_VR_LITTLE_ENDIAN, 0),
        (HIGH_THROUGHPUT, HTJ2K, 4),
    ],
)
def test_a_frame_that_can_be_what_it_is_declared_to_be_passes(
    content, transfer_syntax_uid, uncompressed_bytes
):
    check_declared(
        content, transfer_syntax_uid=transfer_syntax_uid, uncompressed_bytes=uncompressed_bytes
    )
