import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.healthimaging import HealthImagingOrigin
from teleprefetch.adapters.healthimaging_errors import SIGNING_NAME
from teleprefetch.adapters.http_reader import HttpAnswer, HttpReader, HttpRequest, Refusal
from teleprefetch.adapters.origins import OpenFetcher
from teleprefetch.adapters.retrying import NO_RETRIES, RetryPolicy
from teleprefetch.adapters.signing import Signer
from teleprefetch.adapters.transfers import Transfers
from teleprefetch.dicom import HTJ2K_LOSSLESS_RPCL
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)
from teleprefetch.model import PatientKey
from tests.faulty_server import Reply, http, run_answering_server, run_faulty_server
from tests.origin_builders import a_frame_entry, a_pointer, a_uid, an_image_set_id
from tests.waiting import until

PATIENT = PatientKey(patient_id="MRN-SECRET", issuer_of_patient_id="GENERAL")
STUDY, SERIES = a_uid(1), a_uid(1, 1)
DATASTORE = "d" * 32
HTJ2K = bytes.fromhex("ff4fff5100294000") + b"pixels"
AT_ONCE = RetryPolicy(sleep=lambda _: None)


@cache
def a_session(key: str | None) -> boto3.Session:
    return boto3.Session(key, "secret" if key else None, region_name="us-east-1")


@contextmanager
def an_origin(
    url: str,
    *,
    retries: RetryPolicy = NO_RETRIES,
    key: str | None = "local",
    open_fetcher: OpenFetcher = Transfers,
    dicomweb_url: str = "",
) -> Iterator[HealthImagingOrigin]:
    session = a_session(key)
    client = session.client(
        "medical-imaging",
        endpoint_url=url,
        config=Config(
            connect_timeout=2,
            read_timeout=0.3,
            retries={"total_max_attempts": 1},
            inject_host_prefix=False,
        ),
    )
    reader = HttpReader(connections=4, connect_timeout_s=2.0, read_timeout_s=0.3)
    sign = Signer(session.get_credentials, service=SIGNING_NAME, region="us-east-1")
    frames = open_fetcher(connections=4, connect_timeout_s=2.0, read_timeout_s=0.3)
    dicomweb = DicomwebService(
        f"{dicomweb_url or url}/datastore/{DATASTORE}", reader, sign=sign, frames=frames
    )
    with closing(
        HealthImagingOrigin(DATASTORE, client, dicomweb, frames=frames, sign=sign, retries=retries)
    ) as origin:
        yield origin


def aws(status: str, code: str, message: str = "patient MRN-SECRET") -> Reply:
    body = json.dumps({"message": message}).encode()
    return http(status, body, Content_Type="application/json", x_amzn_ErrorType=code)


def a_summary(
    letter: str, series: str, *, study: str = STUDY, patient: str = "MRN-SECRET", **fields: Any
) -> dict[str, Any]:
    return {
        "imageSetId": letter * 32,
        "version": 3,
        "isPrimary": True,
        "DICOMTags": {
            "DICOMPatientId": patient,
            "DICOMStudyInstanceUID": study,
            "DICOMSeriesInstanceUID": series,
            "DICOMStudyDate": "20240229",
        },
        **fields,
    }


def found(*summaries: dict[str, Any], **fields: Any) -> Reply:
    body = {
        "imageSetsMetadataSummaries": summaries,
        "sort": {"sortOrder": "DESC", "sortField": "updatedAt"},
        **fields,
    }
    return http("200 OK", json.dumps(body).encode(), Content_Type="application/json")


def studies(*rows: tuple[str, str]) -> Reply:
    objects = [
        {
            "0020000D": {"Value": [uid]},
            "00100020": {"Value": ["MRN-SECRET"]},
            "00100021": {"Value": [issuer]},
        }
        for uid, issuer in rows
    ]
    return http("200 OK", json.dumps(objects).encode(), Content_Type="application/dicom+json")


def a_metadata_document(study: str = STUDY, series: str = SERIES) -> dict[str, Any]:
    frame = {"ID": "f" * 32, "FrameSizeInBytes": 14}
    instance = {"DICOM": {"InstanceNumber": "1", "Rows": 4}, "ImageFrames": [frame]}
    return {
        "Patient": {"DICOM": {"PatientID": "MRN-SECRET"}},
        "Study": {
            "DICOM": {"StudyInstanceUID": study},
            "Series": {series: {"Instances": {a_uid(1, 1, 1): instance}}},
        },
    }


def metadata(document: Any = None, *, body: bytes | None = None) -> Reply:
    body = gzip.compress(json.dumps(document).encode()) if body is None else body
    return http("200 OK", body, Content_Type="application/json", Content_Encoding="gzip")


def a_frame_answer(content: bytes = HTJ2K, content_type: str = "image/jph") -> Reply:
    return http("200 OK", content, Content_Type=content_type)


FAULTS = {
    "validation": (aws("400 Bad Request", "ValidationException"), InvalidPayloadError),
    "quota": (aws("402 Payment Required", "ServiceQuotaExceededException"), OriginThrottledError),
    "denied": (aws("403 Forbidden", "AccessDeniedException"), AccessDeniedError),
    "expired": (aws("403 Forbidden", "ExpiredTokenException"), AccessDeniedError),
    "not found": (aws("404 Not Found", "ResourceNotFoundException"), StudyNotFoundError),
    "not acceptable": (aws("406 Not Acceptable", "NotAcceptableException"), StudyNotFoundError),
    "conflict": (aws("409 Conflict", "ConflictException"), OriginUnavailableError),
    "throttled": (aws("429 Too Many Requests", "ThrottlingException"), OriginThrottledError),
    "throttled without a code": (http("429 Too Many Requests"), OriginThrottledError),
    "internal": (aws("500 Internal", "InternalServerException"), OriginUnavailableError),
    "unavailable": (http("503 Service Unavailable", b"<html>"), OriginUnavailableError),
    "nothing": (Reply(b""), OriginUnavailableError),
    "reset at once": (Reply(b"", "reset"), OriginUnavailableError),
    "silence": (Reply(b"", "silence"), OriginUnavailableError),
    "silence in the body": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab", "silence"),
        OriginUnavailableError,
    ),
}
BODY_FAULTS = {
    "reset in the body": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"a" * 999_999, "reset"),
        OriginUnavailableError,
    ),
    "shorter than Content-Length": (
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab"),
        CorruptPayloadError,
    ),
    "HTML with 200": (
        http("200 OK", b"<html>log in</html>", Content_Type="text/html"),
        CorruptPayloadError,
    ),
    "nothing with 200": (http("200 OK"), CorruptPayloadError),
}
OVER = {"libcurl": Transfers, "urllib3": HttpReader}
READS: dict[str, Callable[[HealthImagingOrigin], object]] = {
    "search for a study": lambda origin: origin.search_for_study(STUDY),
    "search for a patient": lambda origin: origin.search_for_patient(PATIENT),
    "metadata": lambda origin: origin.retrieve_series_metadata(a_pointer()),
    "frame": lambda origin: origin.retrieve_frame(a_pointer(), a_frame_entry()),
}
STREAMED = ("metadata", "frame")


def error_of(read: str, *replies: Reply, over: str = "libcurl") -> type[PrefetchError]:
    with (
        run_faulty_server(*replies) as server,
        an_origin(server.url, open_fetcher=OVER[over]) as origin,
        pytest.raises(PrefetchError) as caught,
    ):
        READS[read](origin)
    said = str(caught.value)
    assert not any(secret in said for secret in ("MRN", STUDY, server.url, "secret"))
    return type(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("read", READS)
def test_each_fault_becomes_its_error_and_tells_nothing_of_the_patient(fault, read):
    reply, expected = FAULTS[fault]
    assert error_of(read, reply) is expected


@pytest.mark.parametrize("fault", [*FAULTS, *BODY_FAULTS])
def test_each_fault_of_a_frame_is_the_same_error_over_urllib3(fault):
    reply, expected = (FAULTS | BODY_FAULTS)[fault]
    assert error_of("frame", reply, over="urllib3") is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"__type": "com.amazon#ThrottlingException"}', OriginThrottledError),
        (b'{"code": "ThrottlingException"}', OriginThrottledError),
        (b'{"__type": 7}', InvalidPayloadError),
        (b"[]", InvalidPayloadError),
        (b"<html>", InvalidPayloadError),
    ],
)
def test_an_error_s_code_may_be_in_its_body_as_botocore_reads_it(body, expected):
    assert error_of("frame", http("400 Bad Request", body)) is expected


@pytest.mark.parametrize(
    ("is_prefixed", "expected"),
    [
        (True, "https://runtime-medical-imaging.eu-west-1.amazonaws.com"),
        (False, "https://medical-imaging.eu-west-1.amazonaws.com"),
    ],
)
def test_frames_are_asked_for_where_boto3_would_ask(is_prefixed, expected):
    config = Config(inject_host_prefix=is_prefixed)
    client = a_session("local").client("medical-imaging", "eu-west-1", config=config)
    asked: list[str] = []

    def note(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 404, {}, SimpleNamespace(stream=lambda: [b""]))

    client.meta.events.register("before-send.medical-imaging.GetImageFrame", note)
    with pytest.raises(ClientError):
        client.get_image_frame(
            datastoreId=DATASTORE,
            imageSetId="e" * 32,
            imageFrameInformation={"imageFrameId": "f" * 32},
        )
    fetched: list[str] = []

    class Fetches:
        def fetch(self, request: HttpRequest, *, refusal: Refusal) -> HttpAnswer:
            fetched.append(request.url)
            return HttpAnswer(200, {"content-type": "image/jph"}, HTJ2K)

        def close(self) -> None:
            pass

    sign = Signer(a_session("local").get_credentials, service=SIGNING_NAME, region="eu-west-1")
    dicomweb = DicomwebService("http://archive.invalid", HttpReader(connections=1), sign=sign)
    with closing(
        HealthImagingOrigin(
            DATASTORE, client, dicomweb, frames=Fetches(), sign=sign, retries=NO_RETRIES
        )
    ) as origin:
        origin.retrieve_frame(
            a_pointer(image_set_id="e" * 32), a_frame_entry(image_frame_id="f" * 32)
        )
    assert fetched == asked
    assert fetched[0].startswith(expected)


@pytest.mark.parametrize("fault", BODY_FAULTS)
@pytest.mark.parametrize("read", STREAMED)
def test_each_fault_of_a_body_becomes_its_error(fault, read):
    reply, expected = BODY_FAULTS[fault]
    assert error_of(read, reply) is expected


@pytest.mark.parametrize("reply", [http("200 OK", b"<html>log in</html>"), found({"version": 1})])
def test_a_search_that_cannot_be_read_is_corrupt(reply):
    assert error_of("search for a study", reply) is CorruptPayloadError


@pytest.mark.parametrize("read", ["search for a study", "search for a patient"])
def test_a_fault_of_the_dicomweb_search_is_not_hidden(read):
    image_sets = found(a_summary("a", a_uid(1, 1)))
    assert error_of(read, image_sets, http("429 Too Many Requests")) is OriginThrottledError


def test_without_credentials_access_is_denied(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with run_faulty_server(found()) as server, an_origin(server.url, key=None) as origin:
        for read in READS.values():
            with pytest.raises(AccessDeniedError):
                read(origin)


def test_a_search_turns_all_its_pages():
    pages = [
        found(a_summary("a", a_uid(1, 1)), nextToken="more"),
        found(a_summary("b", a_uid(1, 2))),
        studies((STUDY, "GENERAL")),
    ]
    with run_faulty_server(*pages) as server, an_origin(server.url) as origin:
        study = origin.search_for_study(STUDY)
        assert [one.pointer.image_set_id for one in study.series] == ["a" * 32, "b" * 32]
        assert {one.pointer.version_id for one in study.series} == {3}
        assert b"nextToken=more" in server.requests[1]


def test_studies_of_the_same_patient_id_of_another_issuer_are_left_out():
    image_sets = found(
        a_summary("a", a_uid(1, 1)),
        a_summary("b", a_uid(2, 1), study=a_uid(2)),
        a_summary("c", a_uid(3, 1), study=a_uid(3)),
        a_summary("d", a_uid(4, 1), study=a_uid(4), patient="mrn-secret"),
    )
    issuers = studies((STUDY, "GENERAL"), (a_uid(2), "ELSEWHERE"))
    with run_faulty_server(image_sets, issuers) as server, an_origin(server.url) as origin:
        answers = origin.search_for_patient(PATIENT)
    assert {study.study_instance_uid for study in answers} == {STUDY, a_uid(3)}


@pytest.mark.parametrize("uid", ["", "../1", "1.2\n", "1" * 65, "1.02"])
def test_what_is_no_uid_is_refused_before_anything_is_asked(uid):
    with run_faulty_server(found()) as server, an_origin(server.url) as origin:
        with pytest.raises(InvalidPayloadError, match="study_instance_uid"):
            origin.search_for_study(uid)
        assert server.requests == []


def test_image_sets_without_proper_uids_do_not_hide_the_others(caplog):
    image_sets = found(a_summary("a", "1.02.3"), a_summary("b", a_uid(1, 1)))
    with run_faulty_server(image_sets, studies()) as server, an_origin(server.url) as origin:
        assert len(origin.search_for_study(STUDY).series) == 1
    assert "left out 1 image sets" in caplog.text
    assert "1.02" not in caplog.text


DICOM_JSON = http("200 OK", b'[{"kept": "as sent"}]', Content_Type="application/dicom+json")


def test_metadata_is_read_at_the_version_of_the_pointer():
    with (
        run_faulty_server(metadata(a_metadata_document())) as native,
        run_faulty_server(DICOM_JSON) as dicomweb,
        an_origin(native.url, dicomweb_url=dicomweb.url) as origin,
    ):
        read = origin.retrieve_series_metadata(a_pointer(version_id=7))
        (asked,), (asked_of_dicomweb,) = native.requests, dicomweb.requests
    assert read.dicom_json == b'[{"kept": "as sent"}]'
    assert [frame.image_frame_id for frame in read.frames] == ["f" * 32]
    assert b"/getImageSetMetadata?version=7 " in asked
    path = f"/datastore/{DATASTORE}/studies/{STUDY}/series/{a_uid(1, 1)}/metadata"
    query = f"?imageSetId={an_image_set_id(1001)} "
    assert asked_of_dicomweb.startswith(f"GET {path}{query}".encode())
    assert b"/us-east-1/medical-imaging/aws4_request" in asked_of_dicomweb


def test_metadata_and_dicom_json_are_asked_for_at_once():
    together = threading.Barrier(2, timeout=10)

    def answers(reply: Reply) -> Callable[[bytes], Reply]:
        def answer(_request: bytes) -> Reply:
            together.wait()  # broken, if one is asked for only after the other has come
            return reply

        return answer

    with (
        run_answering_server(answers(metadata(a_metadata_document()))) as native,
        run_answering_server(answers(DICOM_JSON)) as dicomweb,
        an_origin(native.url, dicomweb_url=dicomweb.url) as origin,
    ):
        assert len(origin.retrieve_series_metadata(a_pointer()).frames) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_dicom_json_becomes_its_error(fault):
    reply, expected = FAULTS[fault]
    with (
        run_faulty_server(metadata(a_metadata_document())) as native,
        run_faulty_server(reply) as dicomweb,
        an_origin(native.url, dicomweb_url=dicomweb.url) as origin,
        pytest.raises(expected),
    ):
        origin.retrieve_series_metadata(a_pointer())


def test_metadata_are_asked_for_as_boto3_asks():
    with run_faulty_server(metadata(a_metadata_document())) as server:
        client = a_session("local").client("medical-imaging", endpoint_url=server.url,
                                           config=Config(inject_host_prefix=False))  # fmt: skip
        client.get_image_set_metadata(
            datastoreId=DATASTORE, imageSetId=an_image_set_id(1001), versionId="7"
        )["imageSetMetadataBlob"].read()
        client.close()
        with (
            run_faulty_server(DICOM_JSON) as dicomweb,
            an_origin(server.url, dicomweb_url=dicomweb.url) as origin,
        ):
            origin.retrieve_series_metadata(a_pointer(version_id=7))
        boto3s, ours = (_head_of(request) for request in server.requests)
    assert ours[0] == boto3s[0]
    names = {"host", "content-length", "content-type", "content-encoding"}
    assert {name: boto3s[1].get(name) for name in names} == {
        name: ours[1].get(name) for name in names
    }


def test_connections_for_frames_and_metadata_are_opened_aside():
    with (
        run_faulty_server(http("403 Forbidden")) as native,
        run_faulty_server(http("404 Not Found")) as dicomweb,
        an_origin(native.url, dicomweb_url=dicomweb.url) as origin,
    ):
        origin.make_ready(4)
        until(lambda: len(native.requests) + len(dicomweb.requests) == 8, "all are open")
        assert {request.split(b" ")[0] for request in native.requests} == {b"HEAD"}


def _head_of(request: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = request.split(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return first, {name.lower(): value for name, _, value in pairs}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (a_metadata_document(study=a_uid(2)), StudyNotFoundError),
        (a_metadata_document(series=a_uid(1, 2)), StudyNotFoundError),
        ({}, CorruptPayloadError),
    ],
)
def test_an_image_set_of_something_else_is_not_the_series(document, expected):
    assert error_of("metadata", metadata(document)) is expected


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(b"{}")[:-3], gzip.compress(b" " * 300_000_000, 9),
     gzip.compress(b"[" * 200_000)],
    ids=["not gzip", "torn", "bomb", "deep"],
)  # fmt: skip
def test_metadata_that_cannot_be_read_is_corrupt(body):
    assert error_of("metadata", metadata(body=body)) is CorruptPayloadError


def test_a_frame_is_what_was_stored():
    with run_faulty_server(a_frame_answer()) as server, an_origin(server.url) as origin:
        frame = origin.retrieve_frame(a_pointer(), a_frame_entry(image_frame_id="f" * 32))
        (request,) = server.requests
    assert frame.content == HTJ2K
    assert frame.transfer_syntax_uid == HTJ2K_LOSSLESS_RPCL
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"/imageSet/{an_image_set_id(1001)}/getImageFrame ".encode() in head
    assert json.loads(body) == {"imageFrameId": "f" * 32}


def test_a_frame_with_other_bytes_than_its_type_is_corrupt():
    assert error_of("frame", a_frame_answer(b"not a codestream")) is CorruptPayloadError


def test_a_pointer_without_an_image_set_or_a_frame_without_an_id_is_refused():
    with run_faulty_server(a_frame_answer()) as server, an_origin(server.url) as origin:
        with pytest.raises(InvalidPayloadError, match="image_frame_id"):
            origin.retrieve_frame(a_pointer(), a_frame_entry(image_frame_id=None))
        with pytest.raises(InvalidPayloadError, match="image_set_id"):
            origin.retrieve_frame(a_pointer(image_set_id=None), a_frame_entry())
        assert server.requests == []


def test_a_throttled_frame_is_retried_until_it_comes():
    throttled = aws("429 Too Many Requests", "ThrottlingException")
    replies = throttled, aws("409 Conflict", "ConflictException"), Reply(b""), a_frame_answer()
    with (
        run_faulty_server(*replies) as server,
        an_origin(server.url, retries=AT_ONCE) as origin,
    ):
        assert origin.retrieve_frame(a_pointer(), a_frame_entry()).content == HTJ2K
        assert len(server.requests) == 4


def test_a_torn_frame_is_fetched_once_more():
    torn = Reply(b"HTTP/1.1 200 OK\r\nContent-Type: image/jph\r\nContent-Length: 99\r\n\r\n")
    with (
        run_faulty_server(torn, a_frame_answer()) as server,
        an_origin(server.url, retries=AT_ONCE) as origin,
    ):
        assert origin.retrieve_frame(a_pointer(), a_frame_entry()).content == HTJ2K
        assert len(server.requests) == 2


def test_a_search_is_asked_once_and_left_to_the_machine_to_retry():
    with (
        run_faulty_server(aws("429 Too Many Requests", "ThrottlingException")) as server,
        an_origin(server.url, retries=AT_ONCE) as origin,
    ):
        with pytest.raises(OriginThrottledError):
            origin.search_for_study(STUDY)
        assert len(server.requests) == 1
