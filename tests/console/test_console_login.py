"""Who may see the console: operators who logged in at the issuer, and nobody else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from moto import mock_aws
from typer.testing import CliRunner

from teleprefetch.cli import app
from teleprefetch.console.seal import Seal, key_of
from teleprefetch.console.settings import check_console_url, console_settings
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.login.people import COLLEAGUE, OPERATOR, READER, Person
from tests.console.console_site import busy_site
from tests.console.running import Running, running_console, settings_for
from tests.console.visiting import Visitor

PAGES = ("/", "/find?since=24h", "/why?what=1.2.3", "/studies/1.2.3", "/nodes", "/replay",
         "/replay/preview-0123456789abcdef", "/rules", "/rules/rules-0123456789abcdef",
         "/worth")  # fmt: skip
FORMS = ("/find", "/replay", "/replay/preview-0123456789abcdef", "/rules", "/logout")


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_logged_in_is_sent_to_the_issuer_and_comes_back_to_the_page(
    console: Running, path: str
) -> None:
    visitor = Visitor(console.url)
    asked = visitor.get(path)
    assert asked.url.startswith(f"{console.issuer.url}/authorize?")
    back = visitor.log_in(OPERATOR, path)
    came_to = back.url.removeprefix(console.url)
    assert came_to in {path, "/studies/1.2.3"}


@pytest.mark.parametrize("person", [READER, COLLEAGUE])
def test_who_is_no_operator_is_told_so_and_sees_nothing(console: Running, person: Person) -> None:
    visitor = Visitor(console.url)
    refused = visitor.log_in(person, "/studies/1.2.3")

    assert refused.status == 403
    assert "The console is for operators" in refused.text
    assert person.subject in refused.text
    assert "1.2.3" not in refused.text
    assert visitor.get("/", follow=False).status == 303
    assert visitor.post("/replay", {"what": "p-2"}).status == 401


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_nobody_does_nothing(console: Running, path: str) -> None:
    answer = Visitor(console.url).post(path, {"csrf": "x"})
    assert answer.status == 401
    assert "Nothing was done" in answer.text


def test_the_code_flow_is_asked_for_with_pkce_and_the_cookie_holds_no_token(
    console: Running,
) -> None:
    visitor = Visitor(console.url)
    sent = visitor.get("/login?next=/nodes", follow=False)
    asked = {
        name: one for name, [one] in parse_qs(urlsplit(sent.headers["Location"]).query).items()
    }
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len(asked["code_challenge"]) == 43
    [attempt] = sent.headers.getlist("Set-Cookie")

    page = visitor.get("/login?next=/nodes")
    back = visitor.post(
        f"{console.issuer.url}/login",
        {"login": page.hidden("login"), "subject": OPERATOR.subject},
        follow=False,
    )
    entered = visitor.get(back.headers["Location"], follow=False)
    session = next(one for one in entered.headers.getlist("Set-Cookie") if "Max-Age=3600" in one)
    for cookie in (attempt, session):
        assert "; HttpOnly; SameSite=Lax; Path=/" in cookie
        assert len(cookie) < 600  # a token is longer by itself
    assert entered.headers["Location"] == "/nodes"


@pytest.mark.parametrize("next_path", ["//evil.example", "https://evil.example/", "/\\evil.example",
                                       "nodes", "/" + "x" * 2000, "/a\nb"])  # fmt: skip
def test_a_login_never_leads_elsewhere(console: Running, next_path: str) -> None:
    page = Visitor(console.url).log_in(OPERATOR, f"/login?next={quote(next_path, safe='')}")
    assert page.url == f"{console.url}/"


def test_a_code_is_taken_only_from_the_browser_that_asked(console: Running) -> None:
    victim, other = Visitor(console.url), Visitor(console.url)
    page = other.get("/login")
    back = other.post(
        f"{console.issuer.url}/login",
        {"login": page.hidden("login"), "subject": OPERATOR.subject},
        follow=False,
    )
    assert victim.get(back.headers["Location"]).status == 400
    victim.get("/login", follow=False)
    assert victim.get(back.headers["Location"]).status == 400
    assert victim.get("/", follow=False).status == 303

    entered = other.get(back.headers["Location"])
    assert entered.status == 200
    assert other.get(back.headers["Location"]).status == 400  # the same answer once more


def test_an_answer_of_another_issuer_an_error_and_a_false_code_let_nobody_in(
    console: Running,
) -> None:
    for changed, status in (
        ("code=x&iss=https://evil.example", 400),
        ("code=x", 400),  # the issuer promises its name in every answer (RFC 9207)
        (f"error=access_denied&iss={console.issuer.url}", 403),
        (f"code=false&iss={console.issuer.url}", 502),
    ):
        visitor = Visitor(console.url)
        sent = visitor.get("/login", follow=False)
        [state] = parse_qs(urlsplit(sent.headers["Location"]).query)["state"]
        assert visitor.get(f"/callback?state={state}&{changed}").status == status
        assert visitor.get("/", follow=False).status == 303


def test_who_logs_out_is_forgotten_also_where_the_cookie_was_copied(fresh: Running) -> None:
    visitor = Visitor(fresh.url)
    page = visitor.log_in(OPERATOR)
    thief = Visitor(fresh.url)
    thief.cookies = {host: dict(kept) for host, kept in visitor.cookies.items()}
    assert thief.get("/nodes").status == 200

    out = visitor.post("/logout", {"csrf": page.hidden("csrf")})

    assert "Logged out" in out.text
    assert visitor.get("/", follow=False).status == 303
    assert thief.get("/", follow=False).status == 303


def test_a_cookie_that_was_changed_or_is_of_another_purpose_is_nobodys(console: Running) -> None:
    visitor = Visitor(console.url)
    visitor.log_in(OPERATOR)
    kept = visitor.cookies[urlsplit(console.url).netloc]
    good = kept["console"]
    visitor.get("/login", follow=False)
    attempt = kept["console-login"]
    body, _, signature = good.partition(".")
    flipped = ("B" if body[5] != "B" else "C").join((body[:5], body[6:]))
    for bad in ("", "x", f"{flipped}.{signature}", f"{body}.", attempt, good + "x", "é.é"):
        kept["console"] = bad.encode().decode("latin-1")
        assert visitor.get("/", follow=False).status == 303, bad
    kept["console"] = good
    assert visitor.get("/", follow=False).status == 200


def test_a_session_ends() -> None:
    seal = Seal(b"k" * 32)
    closed = seal.closed("session", {"id": "1"}, ends_at_s=100)
    assert seal.opened("session", closed, now_s=99.9) == {"id": "1"}
    assert seal.opened("session", closed, now_s=100) is None
    assert seal.opened("login", closed, now_s=1) is None
    assert Seal(b"l" * 32).opened("session", closed, now_s=1) is None


def test_a_form_of_another_site_or_another_login_is_refused(console: Running) -> None:
    one, two = Visitor(console.url), Visitor(console.url)
    token = one.log_in(OPERATOR, "/replay").hidden("csrf")
    other_token = two.log_in(OPERATOR, "/replay").hidden("csrf")
    fields = {"what": "p-2", "once": "0123456789abcdef"}

    for csrf, origin in ((token, "https://evil.example"), (token, "null"), (other_token, None),
                         ("", None), ("é", None)):  # fmt: skip
        answer = one.post("/replay", fields | {"csrf": csrf}, origin=origin)
        assert answer.status == 403, (csrf, origin)
        assert "Nothing was done" in answer.text
    assert one.post("/replay", fields | {"csrf": token}).status == 200


def test_a_form_that_is_too_long_is_refused(operator: Visitor) -> None:
    csrf = operator.get("/rules").hidden("csrf")
    answer = operator.post("/rules", {"csrf": csrf, "rules": "#" * 1_100_000})
    assert answer.status == 413


def test_every_answer_forbids_framing_keeping_and_scripts_of_its_own(operator: Visitor) -> None:
    for path in ("/", "/nowhere", "/logged-out", "/callback", "/login"):
        answer = operator.get(path, follow=False)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    style = operator.get("/static/console.css")
    assert "immutable" in style.headers["Cache-Control"]


def test_another_host_is_refused(console: Running) -> None:
    # a page elsewhere whose name leads to loopback (DNS rebinding)
    assert Visitor(console.url).get("/", Host="evil.example").status == 421


def test_an_issuer_that_is_away_is_told_and_nobody_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(monkeypatch) as console:
        console.issuer.__exit__()
        answer = Visitor(console.url).get("/")
        assert answer.status == 503
        assert "Nobody can log in now" in answer.text


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, *, key: Path | None = None) -> Iterator[Running]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with (
        mock_aws(),
        running_console(busy_site(datetime.now(UTC)), CONSOLE_KEY_PATH=str(key or "")) as console,
    ):
        yield console


def test_sessions_outlive_a_restart_where_a_key_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    with running(monkeypatch, key=key) as first:
        visitor = Visitor(first.url)
        visitor.log_in(OPERATOR)
        kept = visitor.cookies[urlsplit(first.url).netloc]
    with running(monkeypatch, key=key) as second:
        again = Visitor(second.url)
        again.cookies[urlsplit(second.url).netloc] = dict(kept)
        assert again.get("/", follow=False).status == 200


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"CONSOLE_LOGIN": ""}, "console_login"),
        ({"CONSOLE_LOGIN": "{}"}, "authority"),
        ({"TOKEN_ISSUERS": "[]"}, "console_login.authority"),
        ({"ROLE_GROUPS": '{"https://issuer": {"staff": "root"}}'}, "role_groups"),
        ({"CONSOLE_SESSION_S": "5"}, "console_session_s"),
    ],
)
def test_a_wrong_setting_is_named(changed: dict[str, str], named: str) -> None:
    environment = settings_for("https://issuer.example") | changed
    with pytest.raises(InvalidPayloadError, match=named):
        _ = console_settings(environment).issuer


def test_an_issuer_whose_name_ends_in_a_slash_is_found_by_its_exact_name() -> None:
    environment = settings_for("https://issuer.example/")
    assert console_settings(environment).issuer.issuer == "https://issuer.example/"


@pytest.mark.parametrize("url", ["http://console.example", "http://10.0.0.1:8090",
                                 "https://console.example/below"])  # fmt: skip
def test_beyond_this_machine_tls_is_needed(url: str) -> None:
    with pytest.raises(InvalidPayloadError, match="CONSOLE_URL"):
        check_console_url(url)


@pytest.mark.parametrize("url", ["https://console.example", "http://127.0.0.1:1", "http://[::1]:1",
                                 "http://localhost:8090"])  # fmt: skip
def test_tls_or_loopback_will_do(url: str) -> None:
    check_console_url(url)


def test_a_key_that_is_short_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"k" * 31)
    for name in ("short", "nothing"):
        with pytest.raises(InvalidPayloadError, match="CONSOLE_KEY_PATH"):
            key_of(str(tmp_path / name))


def test_the_command_says_what_is_missing() -> None:
    environment: dict[str, Any] = dict.fromkeys(
        ("TOKEN_ISSUERS", "ROLE_GROUPS", "CONSOLE_LOGIN", "TABLE_NAME", "TELEPREFETCH_STACK")
    )
    result = CliRunner().invoke(app, ["console"], env=environment)
    assert result.exit_code == 2
    assert "settings.console_login" in result.stderr
    named = environment | settings_for("https://issuer.example")
    missing = CliRunner().invoke(app, ["console"], env=named)
    assert missing.exit_code == 2
    assert "--stack" in missing.stderr
    assert json.dumps(named["CONSOLE_LOGIN"]) not in missing.stderr
