"""Scenario 18: whatever the archive sends instead of a frame, it is no answer and never kept."""

import pytest

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.adapters.retrying import NO_RETRIES
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.edge.archives.fetching import FetchPool
from teleprefetch.edge.archives.reading import ReadThrough
from teleprefetch.edge.archives.retrieving import Retriever, Source
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from tests.edge.fakes_for_node import ORIGIN, content, metadata, pointer
from tests.edge.filling import read
from tests.faulty_server import Reply, http, run_faulty_server

SERIES = pointer(image_set="")
SOP = f"{SERIES.series_instance_uid}.1"
HTJ2K = 'multipart/related; type="image/jphc"; boundary=b'
PART = b"--b\r\nContent-Type: image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201\r\n\r\n"


def frame_reply(body=None):
    body = PART + content(1) + b"\r\n--b--\r\n" if body is None else body
    return http("200 OK", body, Content_Type=HTJ2K)


WHOLE = frame_reply()
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: " + HTJ2K.encode() + b"\r\nTransfer-Encoding: chunked\r\n"
)
FAULTS = {
    "500": (http("500 Broken"), OriginUnavailableError),
    "503 with a body": (http("503 Away", b"<html/>"), OriginUnavailableError),
    "429": (http("429 Slow Down"), OriginThrottledError),
    "403": (http("403 Forbidden"), AccessDeniedError),
    "404": (http("404 Not Found"), StudyNotFoundError),
    "a redirect": (http("302 Found", Location="http://127.0.0.1:1/"), OriginUnavailableError),
    "reset at once": (Reply(b"", "reset"), OriginUnavailableError),
    "reset in the body": (
        Reply(WHOLE.sent[:-100], "reset"),
        (OriginUnavailableError, CorruptPayloadError),
    ),
    "closed in the body": (Reply(WHOLE.sent[:-100], "close"), CorruptPayloadError),
    "silent in the body": (Reply(WHOLE.sent[:-100], "silence"), OriginUnavailableError),
    "a length too short": (
        Reply(
            b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\nContent-Type: "
            + HTJ2K.encode()
            + b"\r\n\r\n"
            + PART
            + content(1)
        ),
        CorruptPayloadError,
    ),
    "chunked without an end": (
        Reply(CHUNKED + b"\r\n40\r\n" + PART[:64], "close"),
        (OriginUnavailableError, CorruptPayloadError),
    ),
    "XML with status 200": (
        http("200 OK", b"<Error/>", Content_Type="application/xml"),
        CorruptPayloadError,
    ),
    "XML in a part": (frame_reply(PART + b"<Error/>\r\n--b--\r\n"), CorruptPayloadError),
    "an empty part": (frame_reply(PART + b"\r\n--b--\r\n"), CorruptPayloadError),
    "no part": (frame_reply(b"--b--\r\n"), CorruptPayloadError),
}


@pytest.mark.parametrize("open_fetcher", [HttpReader, Transfers], ids=["urllib3", "libcurl"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_and_the_next_who_asks_gets_the_frame(store, fault, open_fetcher):
    reply, expected = FAULTS[fault]
    store.put_metadata(ORIGIN, metadata(SERIES, 1, with_checksums=False))
    reader = HttpReader(connections=4, read_timeout_s=0.3)
    pool = FetchPool(2, at_thread_end=store.close_thread)
    with run_faulty_server(reply, reply, WHOLE) as server:
        frames = open_fetcher(connections=4, read_timeout_s=0.3)
        service = DicomwebService(server.url, reader, frames=frames)
        origin = DicomwebOrigin(service, retries=NO_RETRIES)
        reading = ReadThrough(
            store,
            pool=pool,
            retriever=Retriever(store, verify_pixels=True),
            origins={ORIGIN: origin},
        )
        try:
            asked = (SERIES.study_instance_uid, SERIES.series_instance_uid, SOP, [1])
            with pytest.raises(expected):
                reading.frames(*asked)
            assert store.verify(ORIGIN, SERIES) == set()
            while len(server.requests) < 2:
                with pytest.raises(expected):
                    reading.frames(*asked)
            (frame,) = reading.frames(*asked)
            assert read(frame) == content(1)
            assert store.verify(ORIGIN, SERIES) == {(SOP, 1)}
        finally:
            pool.close()
            origin.close()


@pytest.mark.parametrize("torn", [Reply(WHOLE.sent[:-100]), frame_reply(PART + b"no frame")])
def test_a_damaged_frame_is_asked_for_once_more_and_no_more(store, torn):
    store.put_metadata(ORIGIN, metadata(SERIES, 2, with_checksums=False))
    retriever = Retriever(store, verify_pixels=True)
    entries = metadata(SERIES, 2, with_checksums=False).frames
    with run_faulty_server(torn, torn, WHOLE) as server:
        service = DicomwebService(
            server.url, HttpReader(connections=1), frames=Transfers(connections=1)
        )
        origin = DicomwebOrigin(service, retries=NO_RETRIES)
        source = Source(ORIGIN, origin)
        with pytest.raises(CorruptPayloadError):
            retriever.frame(source, SERIES, entries[0])
        assert len(server.requests) == 2
        assert retriever.frame(source, SERIES, entries[1]) == len(content(1))
        origin.close()
    assert store.verify(ORIGIN, SERIES) == {(f"{SERIES.series_instance_uid}.2", 1)}
