"""The local issuer: tokens to who does as the standards say, and to others their OAuth error."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
import urllib3

from teleprefetch.adapters.keys import KeyRing
from teleprefetch.domain.tokens.verifier import Verifier
from teleprefetch.local.login.authorizing import AUDIENCE, READ
from teleprefetch.local.login.grants import CODE_S, LOGIN_S, REFRESH_S
from teleprefetch.local.login.issuer import LocalIssuer
from teleprefetch.local.login.oauth import Client
from teleprefetch.local.login.people import COLLEAGUE, OPERATOR, READER, Person
from teleprefetch.local.login.provider import Provider
from teleprefetch.local.login.tokens import TOKEN_S
from teleprefetch.token_settings import token_issuers
from tests.waiting import until

NODE = "http://127.0.0.1:9"
CALLBACK = f"{NODE}/callback"
OTHER = Client("other", frozenset({f"{NODE}/elsewhere"}), frozenset())
FORM = "application/x-www-form-urlencoded"


@dataclass
class Clock:
    now_s: float = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Browser:
    """A client and its person: what OHIF and a browser send."""

    issuer: LocalIssuer
    clock: Clock
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        target = f"{path}?{urlencode(query)}" if query else path
        given = {"Content-Type": FORM} if form is not None else {}
        return urllib3.request(
            method,
            self.issuer.url + target,
            body=None if form is None else urlencode(form),
            headers=given | (headers or {}),
            redirect=False,
            retries=False,
        )

    @property
    def request(self) -> dict[str, str]:
        """A proper authorization request; OHIF's, but for the random values."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "client_id": "ohif",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile offline_access dicomweb.read",
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }

    def login_page(self, **changes: str) -> str:
        """The name of the pending request, off the login page."""
        page = self.ask("GET", "/authorize", query=self.request | changes)
        assert page.status == 200
        return re.findall(r'name="login" value="([^"]+)"', page.data.decode())[0]

    def log_in(self, login: str, person: Person = READER) -> urllib3.BaseHTTPResponse:
        return self.ask("POST", "/login", form={"login": login, "subject": person.subject})

    def code(self, person: Person = READER, **changes: str) -> str:
        return told(self.log_in(self.login_page(**changes), person))["code"]

    def exchange(self, code: str, /, **changes: str) -> urllib3.BaseHTTPResponse:
        form = {
            "grant_type": "authorization_code",
            "client_id": "ohif",
            "redirect_uri": CALLBACK,
            "code": code,
            "code_verifier": self.verifier,
        } | changes
        return self.ask("POST", "/token", form={name: form[name] for name in form if form[name]})

    def tokens(self, person: Person = READER, **changes: str) -> dict[str, Any]:
        answer = self.exchange(self.code(person, **changes))
        assert answer.status == 200, answer.data
        return dict(answer.json())

    def refresh(self, token: str, **changes: str) -> urllib3.BaseHTTPResponse:
        form = {"grant_type": "refresh_token", "client_id": "ohif", "refresh_token": token}
        return self.ask("POST", "/token", form=form | changes)


def told(answer: urllib3.BaseHTTPResponse) -> dict[str, str]:
    """What a redirect tells the client."""
    assert answer.status == 303
    parts = urlsplit(answer.headers["Location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == CALLBACK
    return dict(parse_qsl(parts.query, strict_parsing=True))


def error_of(answer: urllib3.BaseHTTPResponse) -> str:
    """The error of the token endpoint, which keeps RFC 6749 5.2."""
    assert answer.status == (401 if answer.json()["error"] == "invalid_client" else 400)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error", "error_description"}
    return str(answer.json()["error"])


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[LocalIssuer, Clock]]:
    clock = Clock()
    with LocalIssuer(clock=clock) as issuer:
        issuer.register(Provider(issuer=issuer.url).viewer_client(NODE))
        issuer.register(OTHER)
        yield issuer, clock


@pytest.fixture
def browser(listening: tuple[LocalIssuer, Clock]) -> Browser:
    return Browser(*listening)


def test_whoever_logs_in_gets_tokens_that_the_nodes_verifier_believes(browser: Browser) -> None:
    tokens = browser.tokens(READER)
    [rules] = token_issuers({"TOKEN_ISSUERS": Provider(issuer=browser.issuer.url).token_issuers()})
    keys = KeyRing([rules])
    keys.warm_up()
    until(keys.generation, "the keys")

    verdict = Verifier([rules], keys).verify(
        tokens["access_token"], now_s=browser.clock(), wait_s=5
    )

    keys.close()
    assert verdict.reason is None
    assert verdict.identity is not None
    assert verdict.identity.subject == READER.subject
    assert verdict.identity.groups == {"readers"}
    assert verdict.identity.site == "home"
    assert verdict.identity.client_id == "ohif"
    assert READ in verdict.identity.scopes
    assert verdict.identity.ends_at_s == browser.clock() + TOKEN_S == browser.clock() + 600


def test_the_id_token_is_for_the_client_and_carries_its_nonce(browser: Browser) -> None:
    tokens = browser.tokens(COLLEAGUE)
    keys = browser.ask("GET", "/keys").json()["keys"]

    claims = jwt.decode(
        tokens["id_token"],
        jwt.PyJWK(keys[0]),
        algorithms=["RS256"],
        audience="ohif",
        issuer=browser.issuer.url,
        options={"verify_exp": False, "verify_iat": False},
    )

    assert (claims["sub"], claims["nonce"]) == (COLLEAGUE.subject, "n-1")
    assert claims["name"] == COLLEAGUE.name
    assert not {"d", "p", "q", "dp", "dq", "qi"} & keys[0].keys()


def test_the_answer_to_a_login_has_code_state_and_issuer_and_no_token(browser: Browser) -> None:
    answer = told(browser.log_in(browser.login_page(state="a state/with+signs&more")))

    assert answer.keys() == {"code", "state", "iss"}
    assert answer["state"] == "a state/with+signs&more"
    assert answer["iss"] == browser.issuer.url


def test_discovery_says_where_everything_is(browser: Browser) -> None:
    document = browser.ask("GET", "/.well-known/openid-configuration").json()

    assert document["issuer"] == browser.issuer.url
    places = {name: value for name, value in document.items() if name.endswith(("point", "_uri"))}
    assert len(places) == 5
    for name, url in places.items():
        method = "POST" if name == "token_endpoint" else "GET"
        answer = urllib3.request(method, url, redirect=False, retries=False)
        assert answer.status in {200, 400, 401}, name


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": f"{CALLBACK}/"},
        {"redirect_uri": f"{CALLBACK}?more=1"},
        {"redirect_uri": CALLBACK.replace("127.0.0.1", "localhost")},
        {"redirect_uri": CALLBACK.upper()},
        {"redirect_uri": f"{NODE}/elsewhere"},
        {"redirect_uri": ""},
        {"client_id": "nobody"},
        {"client_id": ""},
    ],
)
def test_nobody_is_sent_to_an_address_that_is_not_the_clients(
    browser: Browser, changes: dict[str, str]
) -> None:
    answer = browser.ask("GET", "/authorize", query=browser.request | changes)

    assert answer.status == 400
    assert "Location" not in answer.headers
    assert b"<form" not in answer.data


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "x" * 42}, "invalid_request"),
        ({"code_challenge": "x" * 42 + "="}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "e30."}, "request_not_supported"),
        ({"request_uri": "https://evil.example"}, "request_uri_not_supported"),
        ({"resource": "urn:another"}, "invalid_target"),
    ],
)
def test_a_request_that_is_not_as_it_must_be_is_told_so_with_its_state(
    browser: Browser, changes: dict[str, str], error: str
) -> None:
    answer = told(browser.ask("GET", "/authorize", query=browser.request | changes))

    assert answer["error"] == error
    assert answer["state"] == "s-1"
    assert answer["iss"] == browser.issuer.url
    assert "code" not in answer


def test_a_request_without_a_state_is_refused(browser: Browser) -> None:
    answer = told(browser.ask("GET", "/authorize", query=browser.request | {"state": ""}))

    assert answer["error"] == "invalid_request"
    assert "state" not in answer


@pytest.mark.parametrize("name", ["scope", "state", "code_challenge", "response_type"])
def test_a_parameter_that_is_there_twice_is_refused(browser: Browser, name: str) -> None:
    query = urlencode([*browser.request.items(), (name, browser.request[name])])

    answer = told(browser.ask("GET", f"/authorize?{query}"))

    assert answer["error"] == "invalid_request"
    assert name in answer["error_description"]


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_where_to_go_must_not_be_said_twice(browser: Browser, name: str) -> None:
    query = urlencode([*browser.request.items(), (name, browser.request[name])])

    assert browser.ask("GET", f"/authorize?{query}").status == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": f"{NODE}/elsewhere"}, "invalid_grant"),
        ({"redirect_uri": f"{CALLBACK}/"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_request"),
        ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": ""}, "invalid_client"),
        ({"client_secret": "guess"}, "invalid_client"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
    ],
)
def test_a_code_is_given_up_to_its_client_alone(
    browser: Browser, changes: dict[str, str], error: str
) -> None:
    assert error_of(browser.exchange(browser.code(), **changes)) == error


def test_a_code_is_spent_by_a_wrong_verifier_too(browser: Browser) -> None:
    code = browser.code()

    assert error_of(browser.exchange(code, code_verifier="w" * 43)) == "invalid_grant"
    assert error_of(browser.exchange(code)) == "invalid_grant"


def test_a_code_used_twice_ends_what_came_of_it(browser: Browser) -> None:
    code = browser.code()
    tokens = browser.exchange(code).json()

    assert error_of(browser.exchange(code)) == "invalid_grant"
    assert error_of(browser.refresh(tokens["refresh_token"])) == "invalid_grant"


def test_a_code_lives_a_minute(browser: Browser) -> None:
    code, late = browser.code(), browser.code()
    browser.clock.now_s += CODE_S - 1
    assert browser.exchange(code).status == 200
    browser.clock.now_s += 1
    assert error_of(browser.exchange(late)) == "invalid_grant"


def test_a_login_page_serves_once_and_for_ten_minutes(browser: Browser) -> None:
    login, late = browser.login_page(), browser.login_page()
    assert "code" in told(browser.log_in(login))
    assert browser.log_in(login).status == 400
    browser.clock.now_s += LOGIN_S
    assert browser.log_in(late).status == 400


def test_nobody_unknown_logs_in(browser: Browser) -> None:
    stranger = Person("stranger", "A Stranger", ("readers",), "home")

    assert browser.log_in(browser.login_page(), stranger).status == 400


def test_a_refresh_token_is_replaced_and_the_old_one_ends_the_new(browser: Browser) -> None:
    first = browser.tokens()["refresh_token"]
    renewed = browser.refresh(first).json()
    assert renewed["access_token"]
    second = renewed["refresh_token"]

    assert error_of(browser.refresh(first)) == "invalid_grant"
    assert error_of(browser.refresh(second)) == "invalid_grant"


def test_a_refresh_token_is_of_one_client_and_half_a_day(browser: Browser) -> None:
    tokens = [browser.tokens()["refresh_token"] for _ in range(2)]

    assert error_of(browser.refresh(tokens[0], client_id="other")) == "invalid_grant"
    browser.clock.now_s += REFRESH_S
    assert error_of(browser.refresh(tokens[1])) == "invalid_grant"


def test_who_does_not_ask_for_offline_access_gets_no_refresh_token(browser: Browser) -> None:
    assert "refresh_token" not in browser.tokens(scope="openid dicomweb.read")


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ({"Content-Type": "application/json"}, "{}", "invalid_request"),
        ({"Content-Type": FORM}, "grant_type=a&grant_type=b", "invalid_request"),
        ({"Content-Type": FORM}, "x=%ff&" * 60, "invalid_request"),
        (
            {"Content-Type": FORM, "Authorization": "Basic b2hpZjo="},
            "grant_type=authorization_code&client_id=ohif",
            "invalid_client",
        ),
    ],
)
def test_the_token_endpoint_reads_plain_forms_of_public_clients(
    browser: Browser, headers: dict[str, str], body: str, error: str
) -> None:
    answer = urllib3.request(
        "POST", f"{browser.issuer.url}/token", body=body, headers=headers, retries=False
    )

    assert error_of(answer) == error
    assert ("WWW-Authenticate" in answer.headers) == (error == "invalid_client")


def test_a_scope_without_the_node_gives_a_token_that_the_node_refuses(browser: Browser) -> None:
    token = browser.tokens(scope="openid")["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["scope"] == "openid"
    assert claims["aud"] == AUDIENCE


def test_userinfo_answers_to_an_access_token_in_its_time(browser: Browser) -> None:
    tokens = browser.tokens(OPERATOR)

    def asked(token: str) -> urllib3.BaseHTTPResponse:
        return browser.ask("GET", "/userinfo", headers={"Authorization": f"Bearer {token}"})

    assert asked(tokens["access_token"]).json()["sub"] == OPERATOR.subject
    for wrong in (tokens["id_token"], tokens["access_token"][:-4] + "AAAA", "none", ""):
        answer = asked(wrong)
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    browser.clock.now_s += TOKEN_S
    assert asked(tokens["access_token"]).status == 401


def test_logging_out_ends_the_refresh_tokens_and_goes_back_to_the_client_alone(
    browser: Browser,
) -> None:
    tokens = browser.tokens()
    query = {"id_token_hint": tokens["id_token"], "state": "out"}

    elsewhere = browser.ask(
        "GET", "/logout", query=query | {"post_logout_redirect_uri": "https://evil.example"}
    )
    back = browser.ask(
        "GET", "/logout", query=query | {"post_logout_redirect_uri": f"{NODE}/logged-out"}
    )

    assert (elsewhere.status, "Location" in elsewhere.headers) == (400, False)
    assert back.headers["Location"] == f"{NODE}/logged-out?state=out"
    assert error_of(browser.refresh(tokens["refresh_token"])) == "invalid_grant"
    for hint in ("", "forged", tokens["access_token"]):
        assert browser.ask("GET", "/logout", query={"id_token_hint": hint}).status == 400


def test_only_a_clients_page_may_read_the_answers(browser: Browser) -> None:
    for origin, is_read in ((NODE, True), ("https://evil.example", False), ("null", False)):
        for method, path in (("GET", "/keys"), ("OPTIONS", "/token"), ("POST", "/token")):
            answer = browser.ask(method, path, headers={"Origin": origin})
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) == is_read


def test_another_name_for_loopback_is_not_answered(browser: Browser) -> None:
    answer = browser.ask("GET", "/keys", headers={"Host": "rebound.example"})

    assert answer.status == 421


def test_no_page_runs_a_script_or_is_framed(browser: Browser) -> None:
    for query in (browser.request, {"client_id": "<script>alert(1)</script>"}):
        answer = browser.ask("GET", "/authorize", query=query)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert b"<script" not in answer.data
        assert answer.headers["Cache-Control"] == "no-store"


def test_two_issuers_share_no_key(browser: Browser) -> None:
    other = LocalIssuer()
    with other:
        keys = json.loads(urllib3.request("GET", f"{other.url}/keys").data)["keys"]
    ours = browser.ask("GET", "/keys").json()["keys"]

    assert keys[0]["n"] != ours[0]["n"]
    assert keys[0]["kid"] != ours[0]["kid"]
