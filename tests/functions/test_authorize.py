import importlib.util
import json
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from teleprefetch.local.aws import LocalAws
from tests.benchmarks import authorizer
from tests.faulty_server import FaultyServer, Reply, http, run_faulty_server
from tests.local.healthimaging_fixtures import DATASTORE, Bench, Slice, bench
from tests.token_making import AUDIENCE, key_set, make
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
ROLES = {each: f"arn:aws:iam::{ACCOUNT}:role/{each}" for each in ("search", "metadata", "frames")}
REFUSED = {"isTokenValid": False, "roleArn": ""}
DENIED = {"isTokenValid": True, "roleArn": ""}
FRAMES = "GetDICOMInstanceFrames"


def load(logged: list[dict[str, str]] | None = None) -> ModuleType:
    """The shipped module, as a fresh execution environment has it."""
    spec = importlib.util.spec_from_file_location("_authorize", ROOT / "functions/authorize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if logged is not None:
        vars(module)["_log"] = lambda message, **fields: logged.append(
            {"message": message, **fields}
        )
    return module


def settings_of(issuer: str, **changes: Any) -> dict[str, str]:
    return {
        "TOKEN_ISSUERS": json.dumps(
            [
                {
                    "issuer": issuer,
                    "jwks_uri": f"{issuer}/keys",
                    "audiences": [AUDIENCE],
                    "scopes": ["dicomweb.read"],
                }
                | changes
            ]
        ),
        "READER_ROLES": json.dumps(
            [
                {"operations": [each], "groups": ["readers"], "role_arn": role_arn}
                for each, role_arn in ROLES.items()
            ]
        ),
        "AUTHORIZER_DATASTORE_ID": DATASTORE,
    }


@dataclass
class Running:
    """The shipped handler with an issuer of its own."""

    issuer: FaultyServer
    module: ModuleType
    logged: list[dict[str, str]]

    def token(self, **recipe: Any) -> str:
        claims = {"iss": self.issuer.url, **recipe.pop("claims", {})}
        return make({"claims": claims, **recipe}, now_s=int(time.time()))

    def ask(self, token: str, operation: str = FRAMES, datastore_id: str = DATASTORE) -> Any:
        event = {"datastoreId": datastore_id, "operation": operation, "bearerToken": token}
        return self.module.lambda_handler(event, None)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with run_faulty_server(http("200 OK", key_set(), then="close")) as issuer:
        for name, value in settings_of(issuer.url).items():
            monkeypatch.setenv(name, value)
        logged: list[dict[str, str]] = []
        yield Running(issuer, load(logged), logged)
        issuer.stop()
        until(lambda: "issuer-keys" not in {each.name for each in threading.enumerate()}, "quiet")


@pytest.mark.parametrize(
    ("operation", "role"),
    [
        ("SearchDICOMStudies", "search"),
        ("SearchDICOMSeries", "search"),
        ("SearchDICOMInstances", "search"),
        ("GetDICOMSeriesMetadata", "metadata"),
        ("GetDICOMInstanceMetadata", "metadata"),
        ("GetDICOMInstanceFrames", "frames"),
        ("GetDICOMInstance", "frames"),
        ("GetDICOMBulkdata", "frames"),
    ],
)
def test_a_reader_gets_the_role_of_the_operation(
    running: Running, operation: str, role: str
) -> None:
    assert running.ask(running.token(), operation) == {"isTokenValid": True, "roleArn": ROLES[role]}


@pytest.mark.parametrize("operation", ["StoreDICOM", "DeleteImageSet", "", "getdicominstance"])
def test_an_operation_that_nobody_has_a_role_for_is_denied(
    running: Running, operation: str
) -> None:
    assert running.ask(running.token(), operation) == DENIED


def test_a_reader_of_another_group_or_another_data_store_is_denied(running: Running) -> None:
    assert running.ask(running.token(claims={"groups": ["billing"]})) == DENIED
    assert running.ask(running.token(claims={"groups": None})) == DENIED
    assert running.ask(running.token(), datastore_id="0" * 32) == DENIED


@pytest.mark.parametrize(
    "event",
    [
        None,
        "event",
        7,
        [],
        {},
        {"datastoreId": DATASTORE, "operation": FRAMES},
        {"datastoreId": DATASTORE, "operation": FRAMES, "bearerToken": None},
        {"datastoreId": DATASTORE, "operation": 7, "bearerToken": "a.b.c"},
        {"datastoreId": None, "operation": FRAMES, "bearerToken": "a.b.c"},
        {"datastoreId": DATASTORE, "operation": FRAMES, "bearerToken": "\ud800" * 100},
        {"datastoreId": DATASTORE, "operation": FRAMES, "bearerToken": "x" * 8_000_000},
    ],
)
def test_whatever_it_is_asked_it_answers_and_never_raises(running: Running, event: Any) -> None:
    assert running.module.lambda_handler(event, None) == REFUSED


def test_a_bad_token_is_refused_and_the_log_says_why_and_never_the_token(
    running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    token = running.token(sign="rsa-2")
    running.module = load()
    assert running.ask(token) == REFUSED
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert logged[-1] == {
        "service": "authorizer",
        "message": "refused",
        "operation": FRAMES,
        "why": "signature wrong",
    }
    assert token.split(".")[1] not in json.dumps(logged)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKEN_ISSUERS", "{"),
        ("TOKEN_ISSUERS", ""),
        ("READER_ROLES", "[7]"),
        ("AUTHORIZER_DATASTORE_ID", ""),
    ],
)
def test_wrong_settings_are_a_refusal_and_never_raised(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    running.module = load(running.logged)
    assert running.ask(running.token()) == REFUSED
    assert running.logged


def test_settings_that_are_mended_are_read_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READER_ROLES", "[7]")
    running.module = load(running.logged)
    assert running.ask(running.token()) == REFUSED
    assert "settings.READER_ROLES[0]: not an object" in running.logged[-1]["why"]
    monkeypatch.undo()
    for name, value in settings_of(running.issuer.url).items():
        monkeypatch.setenv(name, value)
    assert running.ask(running.token())["roleArn"] == ROLES["frames"]


def test_a_failure_of_its_own_is_a_refusal_that_is_logged(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.ask(running.token())

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("content")

    monkeypatch.setattr(running.module._LOADING.authorizer, "rule", fail, raising=True)
    assert running.ask(running.token()) == REFUSED
    assert running.logged[-1]["why"] == "failed: MemoryError"


def test_a_start_that_takes_too_long_is_a_refusal_in_time_and_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    make_it = running.module._make

    def slow() -> Any:
        go_on.wait(20)
        return make_it()

    monkeypatch.setattr(running.module, "_make", slow)
    began = time.monotonic()
    assert running.ask(running.token()) == REFUSED
    assert 0.7 < time.monotonic() - began < 0.98
    go_on.set()
    assert running.ask(running.token())["roleArn"] == ROLES["frames"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", "silence"),
        Reply(b"", "reset"),
        http("503 Service Unavailable", then="close"),
        http("200 OK", b"<html>", then="close"),
        http("200 OK", b"x" * 2_000_000, then="close"),
        http("302 Found", then="close", Location="http://127.0.0.1:9/"),
    ],
)
def test_an_issuer_at_fault_is_a_refusal_in_time(running: Running, reply: Reply) -> None:
    running.issuer.answer = lambda _: reply
    running.ask("warm.up.first")  # imports
    took_s = []
    for _ in range(20):
        began = time.monotonic()
        assert running.ask(running.token()) == REFUSED
        took_s.append(time.monotonic() - began)
    assert max(took_s) < 0.6


def test_only_what_the_verdict_needs_is_imported() -> None:
    code = (
        "import sys; sys.path[:0] = ['functions', 'shared']; import authorize;"
        "authorize.lambda_handler({}, None);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(run.stdout.split())
    assert {"joserfc", "teleprefetch"} <= imported
    assert not imported & {"aws_lambda_powertools", "boto3", "botocore", "pydantic", "urllib3"}


def test_the_package_holds_all_that_it_imports_and_answers_cold(tmp_path: Path) -> None:
    size_bytes = authorizer.build_package(tmp_path)
    with run_faulty_server(authorizer.KEYS) as issuer:
        taken_s = authorizer.measure_cold(tmp_path, issuer.url, 1)
    assert len(taken_s) == 1
    assert size_bytes < 25_000_000


def test_the_package_has_the_versions_that_are_locked() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    locked = {each["name"]: each.get("version") for each in lock["package"]}
    lines = (ROOT / "functions/authorize-requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in lines} == {"cffi", "cryptography", "joserfc"}
    for line in lines:
        name, _, version = line.partition("==")
        assert locked[name] == version, name


@pytest.fixture(scope="module")
def data_store() -> Iterator[tuple[Bench, list[Any]]]:
    handlers: list[Any] = []
    with bench(authorizer=lambda event: handlers[-1](event, None)) as store:
        store.imports({"a.dcm": Slice().p10()})
        yield store, handlers


def _read(store: Bench, token: str, path: str) -> tuple[int, str]:
    answer = store.http.request(
        "GET",
        store.ahi.dicomweb_url + path,
        headers={"Authorization": f"Bearer {token}"},
        retries=False,
    )
    message = json.loads(answer.data).get("message", "") if answer.status >= 400 else ""
    return answer.status, message


INSTANCE = "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"


def test_a_reader_reads_healthimaging_through_the_shipped_handler(
    running: Running, data_store: tuple[Bench, list[Any]]
) -> None:
    store, handlers = data_store
    handlers.append(running.module.lambda_handler)
    token = running.token()
    for path in (
        "/studies",
        "/studies/1.2.3/series",
        "/series",
        "/studies/1.2.3/series/1.2.3.1/metadata",
        f"{INSTANCE}/metadata",
        f"{INSTANCE}/frames/1",
        INSTANCE,
    ):
        assert _read(store, token, path) == (200, ""), path
    assert len(running.issuer.requests) == 1


def test_a_reader_without_a_good_token_or_a_role_gets_403(
    running: Running, data_store: tuple[Bench, list[Any]]
) -> None:
    store, handlers = data_store
    handlers.append(running.module.lambda_handler)
    path = f"{INSTANCE}/frames/1"
    invalid, denied = (403, "Invalid or Expired Token"), (403, "Access Denied")
    assert _read(store, running.token(sign="rsa-2"), path) == invalid
    assert _read(store, running.token(claims={"exp": {"now": -1}}), path) == invalid
    assert _read(store, running.token(claims={"aud": "urn:other"}), path) == invalid
    assert _read(store, running.token(claims={"groups": ["billing"]}), path) == denied


def test_an_authorizer_that_fails_would_be_424_and_a_slow_one_408_and_ours_is_neither(
    running: Running, data_store: tuple[Bench, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, handlers = data_store
    shipped = running.module.lambda_handler
    token, path = running.token(), f"{INSTANCE}/frames/1"

    handlers.append(lambda event, context: 1 / 0)
    assert _read(store, token, path)[0] == 424
    hold = threading.Event()
    handlers.append(lambda event, context: hold.wait(5))
    assert _read(store, token, path)[0] == 408
    hold.set()

    handlers.append(shipped)
    running.issuer.answer = lambda _: Reply(b"", "silence")
    assert _read(store, token, path) == (403, "Invalid or Expired Token")
    monkeypatch.setenv("TOKEN_ISSUERS", "{")
    handlers.append(load(running.logged).lambda_handler)
    assert _read(store, token, path) == (403, "Invalid or Expired Token")


def test_a_role_of_another_account_is_424_to_the_reader(
    running: Running, data_store: tuple[Bench, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, handlers = data_store
    monkeypatch.setenv("READER_ROLES", settings_of("")["READER_ROLES"].replace(ACCOUNT, "9" * 12))
    handlers.append(load(running.logged).lambda_handler)
    status, message = _read(store, running.token(), f"{INSTANCE}/frames/1")
    assert (status, message) == (424, "Authorizer Cross Account Access")


def test_the_template_gives_the_alias_its_issuers_and_its_own_roles() -> None:
    with run_faulty_server(http("200 OK", key_set(), then="close")) as issuer, LocalAws() as aws:
        aws.deploy(
            {
                "DatastoreId": DATASTORE,
                "ImportOutputBucket": "local-output",
                "TokenIssuers": settings_of(issuer.url)["TOKEN_ISSUERS"],
                "ReaderGroups": '["neuro", "body"]',
            }
        )
        arn = aws.outputs["AuthorizerArn"]
        assert arn.endswith(":live")
        roles = {
            role["RoleName"]: role["Arn"] for role in boto3.client("iam").list_roles()["Roles"]
        }
        claims = {"iss": issuer.url, "groups": ["neuro"]}
        token = make({"claims": claims}, now_s=int(time.time()))
        for operation, role in (
            ("SearchDICOMStudies", "SearchRole"),
            ("GetDICOMSeriesMetadata", "MetadataRole"),
            ("GetDICOMInstanceFrames", "FramesRole"),
        ):
            event = {"datastoreId": DATASTORE, "operation": operation, "bearerToken": token}
            invoked = boto3.client("lambda").invoke(FunctionName=arn, Payload=json.dumps(event))
            answer = json.loads(invoked["Payload"].read())
            assert answer == {"isTokenValid": True, "roleArn": roles[aws.physical[role]]}
