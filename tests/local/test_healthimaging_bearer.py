import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local.healthimaging_fixtures import DATASTORE, Bench, Slice, bench

ROLE = "arn:aws:iam::123456789012:role/Reader"


def _token(**claims: Any) -> str:
    now = int(time.time())
    document = {"iat": now - 10, "exp": now + 300, "sub": "reader"} | claims
    parts = ({"alg": "RS256"}, {name: at for name, at in document.items() if at is not None})
    encoded = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    return ".".join((*encoded, "signature"))


class Authorizer:
    """An authorizer that remembers what it was asked and answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: Any = {"isTokenValid": True, "roleArn": ROLE}
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, event: dict[str, str]) -> dict[str, Any]:
        self.asked.append(event)
        self.hold.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: dict[str, Any] = self.answer
        return answer


@pytest.fixture(scope="module")
def running_with() -> Iterator[tuple[Bench, Authorizer]]:
    authorizer = Authorizer()
    with bench(authorizer=authorizer) as running:
        running.imports({"a.dcm": Slice().p10()})
        yield running, authorizer


def _get(running: Bench, path: str, token: str) -> Any:
    return running.http.request(
        "GET",
        running.ahi.dicomweb_url + path,
        headers={"Authorization": f"Bearer {token}"},
        retries=False,
    )


def test_the_authorizer_is_asked_with_exactly_what_healthimaging_sends(
    running_with: tuple[Bench, Authorizer],
) -> None:
    running, authorizer = running_with
    token = _token()
    path = "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1/frames/1"
    assert _get(running, path, token).status == 200
    assert authorizer.asked[-1] == {
        "datastoreId": DATASTORE,
        "operation": "GetDICOMInstanceFrames",
        "bearerToken": token,
    }


@pytest.mark.parametrize(
    "token",
    [
        "not-a-token",
        "a.b.c",
        _token(exp=None),
        _token(iat=None),
        _token(exp=int(time.time()) - 1),
        _token(iat=int(time.time()) + 600),
        _token(iat=int(time.time()) - 13 * 3600),
        _token(nbf=int(time.time()) + 600),
        _token(exp="tomorrow"),
        _token(exp=True),
    ],
)
def test_a_token_with_bad_times_never_reaches_the_authorizer(
    running_with: tuple[Bench, Authorizer], token: str
) -> None:
    running, authorizer = running_with
    before = len(authorizer.asked)
    answer = _get(running, "/studies", token)
    assert answer.status == 403
    assert json.loads(answer.data) == {"message": "Invalid or Expired Token"}
    assert len(authorizer.asked) == before


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"isTokenValid": False, "roleArn": ""}, 403, "Invalid or Expired Token"),
        ({"isTokenValid": True, "roleArn": ""}, 403, "Access Denied"),
        ({"isTokenValid": True}, 424, "Authorizer Misconfiguration"),
        ({"isTokenValid": True, "roleArn": ROLE, "x": 1}, 424, "Authorizer Misconfiguration"),
        ({"isTokenValid": "yes", "roleArn": ROLE}, 424, "Authorizer Misconfiguration"),
        ({"isTokenValid": True, "roleArn": "reader"}, 424, "Authorizer Misconfiguration"),
        (
            {"isTokenValid": True, "roleArn": ROLE.replace("123456789012", "999999999999")},
            424,
            "Authorizer Cross Account Access",
        ),
        (RuntimeError("broken"), 424, "Authorizer Failed"),
    ],
)
def test_what_the_authorizer_answers_decides(
    running_with: tuple[Bench, Authorizer], answer: Any, status: int, message: str
) -> None:
    running, authorizer = running_with
    usual, authorizer.answer = authorizer.answer, answer
    try:
        refused = _get(running, "/studies", _token())
    finally:
        authorizer.answer = usual
    assert refused.status == status
    assert json.loads(refused.data) == {"message": message}


def test_an_authorizer_has_one_second(running_with: tuple[Bench, Authorizer]) -> None:
    running, authorizer = running_with
    authorizer.hold.clear()
    try:
        answer = _get(running, "/studies", _token())
    finally:
        authorizer.hold.set()
    assert answer.status == 408
    assert json.loads(answer.data) == {"message": "Authorizer Timeout"}


def test_native_operations_take_no_bearer_token(running_with: tuple[Bench, Authorizer]) -> None:
    running, _ = running_with
    answer = running.http.request(
        "POST",
        f"{running.ahi.url}/datastore/{DATASTORE}/searchImageSets",
        headers={"Authorization": f"Bearer {_token()}"},
    )
    assert answer.status == 403


def test_without_an_authorizer_tokens_are_refused() -> None:
    with bench() as running:
        assert _get(running, "/studies", _token()).status == 403
