import gzip
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest

from teleprefetch.adapters.dicomweb import DicomwebOrigin
from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.adapters.origins import OpenFetcher
from teleprefetch.adapters.retrying import NO_RETRIES, RetryPolicy
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN, JPEG_BASELINE
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)
from teleprefetch.model import Frame, PatientKey
from tests.archive_files import NAMESAKE_ID, PATIENT_ID, real_corpus
from tests.dicomweb_server import run_dicomweb_server
from tests.faulty_server import Reply, http, run_faulty_server
from tests.origin_builders import a_frame_entry, a_pointer, a_uid

PATIENT = PatientKey(patient_id="MRN-SECRET")
STUDY = a_uid(1)
PIXELS = b"\x01\x02\x03\x04"
CODESTREAM = bytes.fromhex("ff4fff5100294000")
RELATED = 'multipart/related; type="application/octet-stream"; boundary=b'
AT_ONCE = RetryPolicy(sleep=lambda _: None)


@contextmanager
def an_origin(
    url: str,
    *,
    retries: RetryPolicy = NO_RETRIES,
    open_fetcher: OpenFetcher = HttpReader,
    **timeouts: float,
) -> Iterator[DicomwebOrigin]:
    timeouts = {"connect_timeout_s": 2.0, "read_timeout_s": 0.3, **timeouts}
    reader = HttpReader(connections=4, **timeouts)
    frames = open_fetcher(connections=4, **timeouts)
    service = DicomwebService(url, reader, frames=frames)
    with closing(DicomwebOrigin(service, retries=retries)) as origin:
        yield origin


@pytest.fixture(params=[HttpReader, Transfers], ids=["urllib3", "libcurl"])
def frames_over(request):
    """An origin whose frames come over either."""
    return partial(an_origin, open_fetcher=request.param)


def multipart(
    content: bytes,
    *,
    part: str = "application/octet-stream",
    related: str = RELATED,
    closed: bool = True,
) -> Reply:
    body = f"--b\r\nContent-Type: {part}\r\n\r\n".encode() + content
    return http("200 OK", body + (b"\r\n--b--" if closed else b""), Content_Type=related)


def rows(*objects: Any, **headers: Any) -> Reply:
    return http(
        "200 OK", json.dumps(objects).encode(), Content_Type="application/dicom+json", **headers
    )


def a_study_row(uid: str, patient_id: str = "MRN-SECRET", **attributes: Any) -> dict[str, Any]:
    return {
        "0020000D": {"Value": [uid]},
        "00100020": {"Value": [patient_id]},
        **{tag: {"Value": [value]} for tag, value in attributes.items()},
    }


FAULTS = {
    "400": (http("400 Bad Request"), InvalidPayloadError),
    "401": (http("401 Unauthorized"), AccessDeniedError),
    "403": (http("403 Forbidden", b"patient MRN-SECRET is not yours"), AccessDeniedError),
    "404": (http("404 Not Found"), StudyNotFoundError),
    "406": (http("406 Not Acceptable"), StudyNotFoundError),
    "409": (http("409 Conflict"), OriginUnavailableError),
    "410": (http("410 Gone"), StudyNotFoundError),
    "429": (http("429 Too Many Requests", Retry_After="1"), OriginThrottledError),
    "500": (http("500 Internal Server Error", b"x" * 100_000), OriginUnavailableError),
    "503": (http("503 Service Unavailable", then="close"), OriginUnavailableError),
    "redirect": (http("302 Found", Location="http://elsewhere/"), OriginUnavailableError),
    "nothing": (Reply(b""), OriginUnavailableError),
    "reset at once": (Reply(b"", "reset"), OriginUnavailableError),
    "silence": (Reply(b"", "silence"), OriginUnavailableError),
    "silence in the body": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab", "silence"),
        OriginUnavailableError,
    ),
    "reset in the body": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"a" * 999_999, "reset"),
        OriginUnavailableError,
    ),
    "shorter than Content-Length": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab"),
        CorruptPayloadError,
    ),
    "chunks without an end": (
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        CorruptPayloadError,
    ),
    "a chunk cut short": (
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nabc"),
        CorruptPayloadError,
    ),
    "not HTTP": (Reply(b"SSH-2.0-OpenSSH_9.2\r\n"), OriginUnavailableError),
    "HTML with 200": (
        http("200 OK", b"<html>log in</html>", Content_Type="text/html"),
        CorruptPayloadError,
    ),
    "an endless body": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"a" * 9999),
        CorruptPayloadError,
    ),
}  # fmt: skip
READS = {
    "search for a study": lambda origin: origin.search_for_study(STUDY),
    "search for a patient": lambda origin: origin.search_for_patient(PATIENT),
    "metadata": lambda origin: origin.retrieve_series_metadata(a_pointer()),
    "frame": lambda origin: origin.retrieve_frame(a_pointer(), a_frame_entry()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_frame_over_libcurl_becomes_the_same_error(fault):
    reply, expected = FAULTS[fault]
    with (
        run_faulty_server(reply) as server,
        an_origin(server.url, open_fetcher=Transfers) as origin,
        pytest.raises(PrefetchError) as caught,
    ):
        READS["frame"](origin)
    assert type(caught.value) is expected
    said = str(caught.value)
    assert not any(secret in said for secret in ("MRN", STUDY, server.url, "elsewhere"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("read", READS)
def test_each_fault_becomes_its_error_and_tells_nothing_of_the_patient(fault, read):
    reply, expected = FAULTS[fault]
    if expected is StudyNotFoundError and "search" in read:
        expected = InvalidPayloadError  # a search that is not there is a wrong address
    with (
        run_faulty_server(reply) as server,
        an_origin(server.url) as origin,
        pytest.raises(PrefetchError) as caught,
    ):
        READS[read](origin)
    assert type(caught.value) is expected
    said = str(caught.value)
    assert not any(secret in said for secret in ("MRN", STUDY, server.url, "elsewhere"))


def test_nobody_listening_is_unavailable(frames_over):
    with frames_over("http://127.0.0.1:1") as origin, pytest.raises(OriginUnavailableError):
        origin.retrieve_frame(a_pointer(), a_frame_entry())


def test_a_redirect_is_not_followed(frames_over):
    with run_faulty_server(multipart(PIXELS)) as elsewhere:
        moved = http("307 Temporary Redirect", Location=f"{elsewhere.url}/frames")
        with (
            run_faulty_server(moved) as server,
            frames_over(server.url) as origin,
            pytest.raises(OriginUnavailableError),
        ):
            origin.retrieve_frame(a_pointer(), a_frame_entry())
        assert elsewhere.requests == []


@pytest.mark.parametrize("uid", ["", "../1", "1%2f2", "1\x002", "1.2\n", "1" * 65, "1.02", "１.2"])  # noqa: RUF001
def test_what_is_no_uid_is_refused_before_anything_is_asked(uid):
    with run_faulty_server(rows()) as server, an_origin(server.url) as origin:
        with pytest.raises(InvalidPayloadError, match="study_instance_uid"):
            origin.search_for_study(uid)
        assert server.requests == []


def test_a_body_that_drips_for_ever_is_given_up():
    drip = (b"1\r\na\r\n" for _ in range(10_000))
    slow = Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(drip))
    with (
        run_faulty_server(slow) as server,
        an_origin(server.url, answer_timeout_s=0.0) as origin,
        pytest.raises(OriginUnavailableError, match="too slow"),
    ):
        origin.retrieve_series_metadata(a_pointer())


def test_a_connection_that_was_closed_while_idle_is_replaced(frames_over):
    replies = [multipart(PIXELS), Reply(b""), multipart(PIXELS)]
    with run_faulty_server(*replies) as server, frames_over(server.url) as origin:
        for _ in range(2):
            frame = origin.retrieve_frame(a_pointer(), a_frame_entry(size_bytes=4))
            assert frame.content == PIXELS


def test_one_connection_serves_one_read_after_another(frames_over):
    with run_faulty_server(multipart(PIXELS)) as server, frames_over(server.url) as origin:
        for _ in range(5):
            origin.retrieve_frame(a_pointer(), a_frame_entry(size_bytes=4))
        assert len(server.open) == 1


@pytest.mark.parametrize("read", ["metadata", "frame"])
def test_a_throttled_read_is_retried(read, frames_over):
    good = multipart(PIXELS) if read == "frame" else rows()
    throttled = http("429 Too Many Requests")
    with run_faulty_server(throttled, Reply(b"", "reset"), throttled, good) as server:
        with frames_over(server.url, retries=AT_ONCE) as origin:
            if read == "frame":
                origin.retrieve_frame(a_pointer(), a_frame_entry(size_bytes=4))
            else:
                origin.retrieve_series_metadata(a_pointer())
        assert len(server.requests) == 4


def test_a_search_is_left_to_the_machine_to_retry():
    with run_faulty_server(http("429 Too Many Requests")) as server:
        with (
            an_origin(server.url, retries=AT_ONCE) as origin,
            pytest.raises(OriginThrottledError),
        ):
            origin.search_for_study(STUDY)
        assert len(server.requests) == 1


def a_frame_of(reply: Reply, **entry: Any) -> tuple[Frame, str]:
    with run_faulty_server(reply) as server, an_origin(server.url) as origin:
        frame = origin.retrieve_frame(a_pointer(), a_frame_entry(**{"size_bytes": 4, **entry}))
        (request,) = server.requests
        return frame, request.decode()


def test_a_frame_is_asked_for_as_it_is_stored():
    _, request = a_frame_of(multipart(PIXELS))
    assert request.startswith(
        f"GET /studies/{STUDY}/series/{a_uid(1, 1)}/instances/{a_uid(1, 1, 1)}/frames/1 HTTP"
    )
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    assert f"Accept: {accept}\r\n" in request


@pytest.mark.parametrize(
    ("part", "related", "expected"),
    [
        (f"image/jpeg; transfer-syntax={JPEG_BASELINE}", RELATED, JPEG_BASELINE),
        (
            "image/jpeg",
            f'multipart/related; type="image/jpeg; transfer-syntax={JPEG_BASELINE}"; boundary=b',
            JPEG_BASELINE,
        ),
        (
            "image/jpeg",
            f'multipart/related; type="image/jpeg";transfer-syntax={JPEG_BASELINE};boundary=b',
            JPEG_BASELINE,
        ),
        ("application/octet-stream", RELATED, EXPLICIT_VR_LITTLE_ENDIAN),
        ("", RELATED, EXPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_a_frame_states_the_transfer_syntax_that_the_answer_does(part, related, expected):
    frame, _ = a_frame_of(multipart(PIXELS, part=part, related=related))
    assert (frame.content, frame.transfer_syntax_uid) == (PIXELS, expected)


@pytest.mark.parametrize(
    "reply",
    [
        multipart(PIXELS, closed=False),
        multipart(PIXELS, part="image/jpeg", related="multipart/related; boundary=b"),
        multipart(PIXELS, part="image/jpeg; transfer-syntax=1.02"),
        multipart(CODESTREAM),
        multipart(PIXELS + b"more"),
        multipart(b""),
        http("200 OK", b"--b--", Content_Type=RELATED),
        http("200 OK", PIXELS, Content_Type="application/octet-stream"),
        http(
            "200 OK",
            b"--b\r\n\r\nabcd\r\n--b\r\n\r\nabcd\r\n--b--",
            Content_Type=RELATED,
        ),
        http("204 No Content"),
    ],
    ids=["torn", "transfer syntax not stated", "not a UID", "mislabelled HTJ2K", "too long",
         "empty", "no part", "not multipart", "two parts", "no content"],
)  # fmt: skip
def test_a_frame_that_is_not_what_it_claims_is_corrupt(reply):
    with pytest.raises(CorruptPayloadError):
        a_frame_of(reply)


def test_metadata_is_handed_on_as_it_was_sent_and_unzipped():
    document = b'[ {"00080018": {"vr": "UI", "Value": ["1.2.3"]} } ]\n'
    zipped = http("200 OK", gzip.compress(document), Content_Encoding="gzip")
    with run_faulty_server(zipped) as server, an_origin(server.url) as origin:
        metadata = origin.retrieve_series_metadata(a_pointer())
    assert (metadata.dicom_json, metadata.frames) == (document, ())


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"[" + b" " * 200_000_000 + b"]", 9), "gzip"),
        (gzip.compress(b"[]")[:-6], "gzip"),
        (b"[]", "gzip"),
        (b"[]", "br"),
        (b"[" * 200_000, "identity"),
    ],
    ids=["bomb", "torn gzip", "not gzip", "not asked for", "deep"],
)
def test_metadata_that_cannot_be_read_is_corrupt(body, encoding):
    with (
        run_faulty_server(http("200 OK", body, Content_Encoding=encoding)) as server,
        an_origin(server.url) as origin,
        pytest.raises(CorruptPayloadError),
    ):
        origin.retrieve_series_metadata(a_pointer())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return real_corpus(tmp_path_factory.mktemp("corpus"))


def test_an_archive_that_matches_everything_is_read_with_care(corpus):
    with run_dicomweb_server(corpus, matches_loosely=True) as server, an_origin(server.url) as one:
        namesakes = one.search_for_patient(PatientKey(patient_id=NAMESAKE_ID))
        assert {study.patient.patient_id for study in namesakes} == {NAMESAKE_ID}
        assert one.search_for_patient(PatientKey(patient_id="nobody")) == ()
        (uid,) = corpus.study_uids(PatientID=NAMESAKE_ID)
        assert one.search_for_study(uid).study_instance_uid == uid
        with pytest.raises(StudyNotFoundError):
            one.search_for_study(a_uid(9))


def test_an_archive_that_answers_a_few_rows_at_a_time_is_asked_until_there_are_none(corpus):
    with run_dicomweb_server(corpus, rows_at_a_time=1) as server, an_origin(server.url) as origin:
        studies = origin.search_for_patient(PatientKey(patient_id=PATIENT_ID))
    expected = corpus.study_uids(PatientID=PATIENT_ID)
    assert {study.study_instance_uid for study in studies} == expected
    assert sum(len(study.series) for study in studies) == len(
        corpus.series_uids(PatientID=PATIENT_ID)
    )


def test_an_archive_that_cannot_page_is_not_asked_for_ever():
    endless = rows(
        *(a_study_row(a_uid(2, number), "MRN-OTHER") for number in range(600)), Warning="299 more"
    )
    with run_faulty_server(endless) as server, an_origin(server.url) as origin:
        assert origin.search_for_patient(PATIENT) == ()
        assert len(server.requests) == 2


def test_a_search_asks_for_what_archives_leave_out():
    with run_faulty_server(http("204 No Content")) as server, an_origin(server.url) as origin:
        assert origin.search_for_patient(PatientKey(patient_id="A&B=1 *")) == ()
        (request,) = server.requests
    line = request.split(b"\r\n")[0].decode()
    assert "PatientID=A%26B%3D1%20%2A&" in line
    assert "includefield=IssuerOfPatientID" in line
    assert "includefield=StudyDescription" in line


def test_a_study_with_a_malformed_uid_does_not_hide_the_others(caplog):
    studies = rows(a_study_row("1.02.3"), a_study_row(STUDY))
    series = rows({"0020000E": {"Value": ["1.02.4"]}}, {"0020000E": {"Value": [a_uid(1, 1)]}})
    with run_faulty_server(studies, series) as server, an_origin(server.url) as origin:
        (study,) = origin.search_for_patient(PATIENT)
    assert [one.pointer.series_instance_uid for one in study.series] == [a_uid(1, 1)]
    assert "left out 1 studies" in caplog.text
    assert "1.02" not in caplog.text


def test_a_study_deleted_while_searching_is_left_out():
    replies = rows(a_study_row(STUDY)), http("404 Not Found")
    with run_faulty_server(*replies) as server, an_origin(server.url) as origin:
        assert origin.search_for_patient(PATIENT) == ()
