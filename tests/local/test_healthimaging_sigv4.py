import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.local.healthimaging.sigv4 import Verifier
from teleprefetch.local.healthimaging.wire import Request, ServiceError
from tests.local.healthimaging_fixtures import DATASTORE, OWNER, Bench, Slice, bench

VERIFIER = Verifier({"local": "secret"}, "us-east-1")
HOST = "http://127.0.0.1:1"


def _signed(
    method: str,
    target: str,
    body: bytes = b"",
    *,
    credentials: Credentials = OWNER,
    service: str = "medical-imaging",
    region: str = "us-east-1",
) -> Request:
    request = AWSRequest(method, HOST + target, data=body)
    SigV4Auth(credentials, service, region).add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["host"] = "127.0.0.1:1"
    return Request(method, target, headers, body)


def _verify(request: Request, now: datetime | None = None) -> None:
    VERIFIER.verify(request, now or datetime.now(UTC))


def _with(request: Request, **changes: str) -> Request:
    headers = request.headers | {name.replace("_", "-"): text for name, text in changes.items()}
    return Request(request.method, request.target, headers, request.body)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/datastore/x/imageSet/y/getImageFrame",
        "/a%20b/c%2Fd/%C3%A9",
        "/a?version=1",
        "/a?b=2&a=1&a=0&empty=",
        "/a?imageSetId=x&includefield=00100010%2C00100020",
        "/a?q=%2A%20~",
    ],
)
def test_what_botocore_signs_is_accepted(target: str) -> None:
    _verify(_signed("GET", target))
    _verify(_signed("POST", target, b'{"a": 1}'))


@given(
    path=st.text(string.ascii_letters + string.digits + "-_.~ %é/:@!", max_size=30),
    query=st.dictionaries(
        st.text(string.ascii_letters, min_size=1, max_size=5),
        st.text(max_size=10),
        max_size=4,
    ),
    body=st.binary(max_size=50),
)
def test_any_encoded_target_botocore_signs_is_accepted(
    path: str, query: dict[str, str], body: bytes
) -> None:
    pairs = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in query.items())
    _verify(_signed("POST", "/x" + quote(path) + ("?" + pairs if pairs else ""), body))


def test_whatever_is_signed_cannot_be_changed() -> None:
    good = _signed("POST", "/a?b=1", b"body")
    for tampered in (
        Request("PUT", good.target, good.headers, good.body),
        Request(good.method, "/b?b=1", good.headers, good.body),
        Request(good.method, "/a?b=2", good.headers, good.body),
        Request(good.method, good.target, good.headers, b"other"),
        _with(good, host="127.0.0.1:2"),
    ):
        with pytest.raises(ServiceError) as caught:
            _verify(tampered)
        assert (caught.value.status, caught.value.error_type) == (
            403,
            "InvalidSignatureException",
        )


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Request("GET", "/", {}, b""), "MissingAuthenticationTokenException"),
        (Request("GET", "/", {"authorization": "Basic x"}, b""), "IncompleteSignatureException"),
        (_signed("GET", "/", credentials=Credentials("other", "secret")), "UnrecognizedClient"),
        (_signed("GET", "/", credentials=Credentials("local", "guess")), "InvalidSignature"),
        (_signed("GET", "/", service="s3"), "InvalidSignature"),
        (_signed("GET", "/", region="eu-west-1"), "InvalidSignature"),
        (_with(_signed("GET", "/"), x_amz_date="yesterday"), "IncompleteSignature"),
        (_with(_signed("GET", "/"), x_amz_date="19990101T000000Z"), "InvalidSignature"),
        (_with(_signed("GET", "/"), x_amz_content_sha256="0" * 64), "InvalidSignature"),
    ],
)
def test_bad_signatures_are_refused_by_name(request_: Request, name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        _verify(request_)
    assert caught.value.status == 403
    assert caught.value.error_type.startswith(name)


@pytest.mark.parametrize(("minutes", "accepted"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_a_signature_lasts_five_minutes(minutes: int, accepted: bool) -> None:
    request = _signed("GET", "/")
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    if accepted:
        _verify(request, now)
        return
    with pytest.raises(ServiceError, match="expired"):
        _verify(request, now)


def test_a_signature_that_leaves_the_host_out_is_refused() -> None:
    request = _signed("GET", "/")
    authorization = request.headers["authorization"].replace("host;", "")
    with pytest.raises(ServiceError, match="SignedHeaders"):
        _verify(_with(request, authorization=authorization))


@pytest.fixture(scope="module")
def archive() -> Iterator[Bench]:
    with bench() as running:
        running.imports({"a.dcm": Slice().p10()})
        yield running


def test_the_service_verifies_every_request(archive: Bench) -> None:
    assert archive.signed("/studies").status == 200
    assert archive.signed("/studies", credentials=Credentials("local", "guess")).status == 403
    assert archive.signed("/studies", credentials=Credentials("other", "secret")).status == 403
    assert archive.http.request("GET", archive.ahi.dicomweb_url + "/studies").status == 403
    bare = archive.http.request("POST", f"{archive.ahi.url}/datastore/{DATASTORE}/searchImageSets")
    assert bare.status == 403
    assert bare.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
