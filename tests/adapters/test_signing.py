import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.adapters.signing import Signer
from teleprefetch.errors import AccessDeniedError

NOW = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
URL = "https://runtime-medical-imaging.us-east-1.amazonaws.com/datastore/d/imageSet/e/getImageFrame"

words = st.text(min_size=1, max_size=12)
segments = st.lists(
    st.one_of(st.sampled_from([".", "..", "", "a b", "%2F", "~"]), words).map(
        lambda word: quote(word, safe="%~.")
    ),
    max_size=5,
)
queries = st.lists(
    st.tuples(words, st.one_of(st.just(""), words)).map(
        lambda pair: "=".join(quote(word, safe="") for word in pair)
    )
    | words.map(lambda word: quote(word, safe="")),
    max_size=4,
).map("&".join)
hosts = st.sampled_from(["h.amazonaws.com", "127.0.0.1", "[::1]", "H.Example"])
ports = st.sampled_from(["", ":80", ":443", ":8080"])
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
headers = st.dictionaries(st.sampled_from(["Accept", "Content-Type", "X-A", "x-b"]), values)


def a_signer(keys: Credentials | None, *, now: datetime = NOW, region: str = "us-east-1") -> Signer:
    return Signer(lambda: keys, service="medical-imaging", region=region, clock=lambda: now)


@given(
    method=st.sampled_from(["GET", "POST"]),
    scheme=st.sampled_from(["http", "https"]),
    host=hosts,
    port=ports,
    path=segments.map(lambda parts: "/" + "/".join(parts)),
    query=queries,
    sent=headers,
    body=st.binary(max_size=64),
    token=st.none() | st.from_regex(r"[A-Za-z0-9/+=]{1,40}", fullmatch=True),
    secret=st.from_regex(r"[A-Za-z0-9/+]{1,40}", fullmatch=True),
    now=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1)),  # noqa: DTZ001
    region=st.sampled_from(["us-east-1", "eu-west-1"]),
)
def test_the_signature_is_botocore_s(
    method, scheme, host, port, path, query, sent, body, token, secret, now, region
):
    url = f"{scheme}://{host}{port}{path}" + (f"?{query}" if query else "")
    keys = Credentials("AKID", secret, token)
    request = AWSRequest(method, url, headers=dict(sent), data=body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: now)
        auth.SigV4Auth(keys.get_frozen_credentials(), "medical-imaging", region).add_auth(request)
    signer = a_signer(keys, now=now.replace(tzinfo=UTC), region=region)
    assert signer(url, sent, method=method, body=body) == dict(request.headers.items())


def test_without_credentials_access_is_denied():
    with pytest.raises(AccessDeniedError):
        a_signer(None)(URL, {})


def test_credentials_are_refreshed_before_they_expire():
    made = []

    def fresh() -> dict[str, str]:
        made.append(len(made))
        expires = datetime.now(UTC) + timedelta(minutes=5 if len(made) == 1 else 60)
        return {
            "access_key": f"AKID{len(made)}",
            "secret_key": "secret",
            "token": f"token{len(made)}",
            "expiry_time": expires.isoformat(),
        }

    keys = RefreshableCredentials.create_from_metadata(fresh(), fresh, "test")
    signed = a_signer(keys)(URL, {})
    assert signed["X-Amz-Security-Token"] == "token2"
    assert "Credential=AKID2/" in signed["Authorization"]
    assert a_signer(keys)(URL, {})["X-Amz-Security-Token"] == "token2"


def test_the_key_of_a_day_is_not_that_of_the_next():
    keys = Credentials("AKID", "secret")
    today = a_signer(keys)(URL, {})
    tomorrow = a_signer(keys, now=NOW + timedelta(seconds=1))(URL, {})
    assert "/20261124/" in today["Authorization"]
    assert "/20261125/" in tomorrow["Authorization"]
    request = AWSRequest("GET", URL, headers={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: NOW + timedelta(seconds=1))
        auth.SigV4Auth(keys, "medical-imaging", "us-east-1").add_auth(request)
    assert tomorrow["Authorization"] == request.headers["Authorization"]


def test_threads_sign_with_one_signer():
    keys = Credentials("AKID", "secret")
    signer, signed = a_signer(keys), []
    threads = [
        threading.Thread(target=lambda: signed.append(signer(URL, {}, method="POST", body=b"{}")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert signed == [signer(URL, {}, method="POST", body=b"{}")] * 16
