import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.multipart import (
    ContentType,
    MultipartDecoder,
    Part,
    boundary_of,
    closing,
    decode,
    encode,
    opening,
)
from teleprefetch.errors import CorruptPayloadError

BOUNDARY = "frame-boundary"
RELATED = ContentType("multipart/related", {"boundary": BOUNDARY})

# Bytes around which a parser that searches carelessly goes wrong.
tricky = st.sampled_from(
    [b"\r\n", b"--", b"\r\n--", BOUNDARY.encode(), f"\r\n--{BOUNDARY}".encode(), b" ", b"\r", b"x"]
)
contents = st.one_of(st.binary(max_size=64), st.lists(tricky, max_size=12).map(b"".join))
delimited = st.lists(contents, min_size=1, max_size=4)
cuts = st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=200)


def in_chunks(body: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at, turn = [], 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        chunks.append(body[at : at + size])
        at, turn = at + size, turn + 1
    return chunks


def fed(body: bytes, sizes: list[int]) -> list[bytes]:
    decoder = MultipartDecoder(BOUNDARY, max_parts=8, max_part_bytes=4096)
    parts = [part for chunk in in_chunks(body, sizes) for part in decoder.feed(chunk)]
    decoder.close()
    return [part.content for part in parts]


def without_lengths(pieces: list[bytes]) -> bytes:
    header = opening(BOUNDARY, {"Content-Type": "application/octet-stream"})
    return b"\r\n".join(header + piece for piece in pieces) + closing(BOUNDARY)


@given(pieces=delimited, sizes=cuts)
def test_any_content_in_any_chunks_comes_out_as_it_went_in(pieces, sizes):
    body = encode([Part({}, piece) for piece in pieces], BOUNDARY)
    assert fed(body, sizes) == pieces


@given(pieces=delimited, sizes=cuts)
def test_without_lengths_any_chunks_give_the_same_parts_as_one(pieces, sizes):
    clean = [piece.replace(BOUNDARY.encode(), b"") for piece in pieces]
    assert fed(without_lengths(clean), sizes) == clean


@given(piece=contents, sizes=cuts, tail=st.sampled_from([b"x", b"-x", b" x", b"\rx", b"\n"]))
def test_a_line_that_only_begins_like_the_delimiter_is_content(piece, sizes, tail):
    clean = piece.replace(BOUNDARY.encode(), b"")
    content = clean + f"\r\n--{BOUNDARY}".encode() + tail + clean
    assert fed(without_lengths([content]), sizes) == [content]


@given(piece=contents, lost=st.integers(min_value=1), sizes=cuts)
def test_a_body_cut_anywhere_is_corrupt(piece, lost, sizes):
    body = encode([Part({}, piece)], BOUNDARY).removesuffix(b"\r\n")
    torn = body[: -(1 + lost % len(body))]
    with pytest.raises(CorruptPayloadError):
        fed(torn, sizes)


@given(body=st.binary(max_size=300), sizes=cuts)
def test_any_bytes_give_parts_or_a_corrupt_payload_error(body, sizes):
    decoder = MultipartDecoder(BOUNDARY, max_parts=2, max_part_bytes=64)
    try:
        for chunk in in_chunks(f"--{BOUNDARY}".encode() + body, sizes):
            assert all(len(part.content) <= 64 for part in decoder.feed(chunk))
        decoder.close()
    except CorruptPayloadError:
        pass


def test_headers_are_kept_with_names_in_lower_case():
    body = b"--frame-boundary\r\nContent-Type: image/jls; transfer-syntax=1.2\r\nX:  y \r\n\r\nab"
    (part,) = decode(RELATED, body + closing(BOUNDARY), max_parts=1, max_part_bytes=2)
    assert part.headers == {"content-type": "image/jls; transfer-syntax=1.2", "x": "y"}
    assert part.content_type.transfer_syntax_uid == "1.2"


def test_a_preamble_padding_and_an_epilogue_are_passed_over():
    body = b"before\r\n--frame-boundary \t\r\n\r\nab\r\n--frame-boundary--\r\nafter"
    (part,) = decode(RELATED, body, max_parts=1, max_part_bytes=2)
    assert part == Part({}, b"ab")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (encode([Part({}, b"abc")], BOUNDARY), "multipart part: too long"),
        (without_lengths([b"abc"]), "multipart part: too long"),
        (without_lengths([b"a" * 500]).removesuffix(closing(BOUNDARY)), "multipart part: too long"),
        (encode([Part({}, b"a"), Part({}, b"b")], BOUNDARY), "more parts"),
        (opening(BOUNDARY, {"Content-Length": "1"}) + b"ab" + closing(BOUNDARY), "does not end"),
        (opening(BOUNDARY, {"Content-Length": "-1"}) + b"" + closing(BOUNDARY), "not a number"),
        (b"--frame-boundary\r\nno colon\r\n\r\nab" + closing(BOUNDARY), "not a header line"),
        (b"--frame-boundary\r\nA: " + b"b" * 17_000, "multipart header: too long"),
        (b"x" * 17_000, "multipart preamble: too long"),
        (b"<html>not multipart</html>", "no closing delimiter"),
        (b"", "no closing delimiter"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(body, named):
    with pytest.raises(CorruptPayloadError, match=named):
        decode(RELATED, body, max_parts=1, max_part_bytes=2)


@pytest.mark.parametrize(
    ("header", "boundary", "transfer_syntax"),
    [
        (
            'multipart/related; type="image/jp2; transfer-syntax=1.2.4.91"; boundary=8afaa153',
            "8afaa153",
            "1.2.4.91",
        ),
        (
            'Multipart/Related;boundary="a b,c";type="image/jls";transfer-syntax=1.2.3',
            "a b,c",
            "1.2.3",
        ),
        ("multipart/related; type=image/jpeg; Boundary=b", "b", ""),
    ],
)
def test_content_types_are_read_as_archives_write_them(header, boundary, transfer_syntax):
    content_type = ContentType.parse(header)
    assert boundary_of(content_type) == boundary
    assert content_type.transfer_syntax_uid == transfer_syntax


@pytest.mark.parametrize(
    "header",
    ["text/html", "", "multipart/related", 'multipart/related; boundary=""',
     "multipart/related; boundary=\"a\r\nb\"", "multipart/related; boundary=" + "b" * 201],
)  # fmt: skip
def test_an_answer_without_a_proper_boundary_is_corrupt(header):
    with pytest.raises(CorruptPayloadError, match="Content-Type"):
        boundary_of(ContentType.parse(header))
