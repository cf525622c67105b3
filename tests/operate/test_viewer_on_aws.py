"""The viewer that CloudFront serves: what is put there, as what, and for how long; on moto."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse
from typer.testing import CliRunner, Result

from teleprefetch.cli import app
from teleprefetch.edge.dicomweb.messages import Request
from teleprefetch.edge.pages.viewer import ViewerConfig, ViewerFiles, content_policy, inline_scripts
from teleprefetch.local import viewer
from teleprefetch.local.aws import CREDENTIALS, TEMPLATE
from teleprefetch.local.template import expand
from tests.local.test_viewer_package import integrity_of, package
from tests.ohif import skip_without_viewer

PAGE = b"<!doctype html><script>console.time('a')</script><div id=root></div>"
BUNDLE, WASM = "app.bundle.0f6159c501addfe9.js", "34b1e6b1deb5828e.wasm"
RELEASED = {
    "package/LICENSE": b"MIT",
    "package/dist/index.html": PAGE,
    f"package/dist/{BUNDLE}": b"let a = 1;" * 500,
    f"package/dist/{BUNDLE}.map": b"{}" * 1000,
    f"package/dist/{WASM}": b"\0asm",
    "package/dist/assets/icon.png": b"png" * 1000,
    "package/dist/app-config.js": b"window.config = 'the released one'",
    "package/dist/_headers": b"x",
}
LOGIN = {
    "authority": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool",
    "client_id": "viewer",
    "scope": "openid profile",
    "origins": ["https://site.auth.eu-west-1.amazoncognito.com"],
}
CONNECTS = (
    "https://cognito-idp.eu-west-1.amazonaws.com https://site.auth.eu-west-1.amazoncognito.com"
)
NODES = "https://read.example.org"
SCRIPTS = " ".join(inline_scripts(PAGE))
STACK = "site"
RESOURCES = yaml_parse(TEMPLATE.read_text())["Resources"]
FOREVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"


def _template() -> dict[str, Any]:
    """The viewer's bucket and outputs of the shipped template; moto knows no distribution."""
    whole = expand(TEMPLATE).cloudformation
    told_of_distribution = {"ViewerDomainName", "ViewerDeployPolicyArn"}
    outputs = {
        name: one
        for name, one in whole["Outputs"].items()
        if name.startswith("Viewer") and name not in told_of_distribution
    }
    bucket = whole["Resources"]["ViewerBucket"]
    conditions = {"ViewerByCloudFront": whole["Conditions"]["ViewerByCloudFront"]}
    parameters = {
        name: one for name, one in whole["Parameters"].items() if name.startswith("Viewer")
    } | {"ReadersUrl": whole["Parameters"]["ReadersUrl"]}
    return {
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": {"ViewerBucket": bucket},
        "Outputs": outputs,
    }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


@pytest.fixture
def deployed(aws: None) -> Any:
    def create(**changes: str) -> str:
        given = {
            "ViewerOnAws": "true",
            "ViewerName": "viewer.example.org",
            "ViewerLogin": json.dumps(LOGIN),
            "ViewerConnects": CONNECTS,
            "ViewerScripts": SCRIPTS,
            "ReadersUrl": NODES,
        } | changes
        boto3.client("cloudformation").create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(_template()),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
        )
        [bucket] = boto3.client("s3").list_buckets()["Buckets"] or [{"Name": ""}]
        return str(bucket["Name"])

    return create


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    released = package(tmp_path / "released.tgz", RELEASED)
    monkeypatch.setattr(viewer, "INTEGRITY", integrity_of(released))
    return released


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["viewer", *arguments], env={"COLUMNS": "300"})


def deploy(archive: Path) -> Result:
    return run("deploy", "--stack", STACK, "--archive", str(archive))


def held(bucket: str) -> dict[str, tuple[str, str]]:
    s3 = boto3.client("s3")
    return {
        one["Key"]: (found["ContentType"], found["CacheControl"])
        for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ())
        for found in [s3.head_object(Bucket=bucket, Key=one["Key"])]
    }


def test_the_configuration_names_the_nodes_and_the_login_of_the_stack(deployed: Any) -> None:
    deployed()

    told = run("config", "--stack", STACK)

    assert told.exit_code == 0, told.output
    config = json.loads(told.stdout.removeprefix("window.config = ").rstrip(";\n"))
    [source] = config["dataSources"]
    assert source["configuration"]["wadoRoot"] == f"{NODES}/dicom-web"
    assert source["configuration"]["qidoRoot"] == f"{NODES}/dicom-web"
    [login] = config["oidc"]
    assert login["authority"] == LOGIN["authority"]
    assert login["client_id"] == "viewer"


def test_each_file_is_put_as_what_it_is_and_only_hashed_ones_for_ever(
    deployed: Any, archive: Path
) -> None:
    bucket = deployed()

    told = deploy(archive)

    assert told.exit_code == 0, told.output
    assert "https://viewer.example.org" in told.output
    assert held(bucket) == {
        "LICENSE": ("application/octet-stream", ASK_AGAIN),
        "index.html": ("text/html; charset=utf-8", ASK_AGAIN),
        "logged-out.html": ("text/html; charset=utf-8", ASK_AGAIN),
        "app-config.js": ("text/javascript; charset=utf-8", ASK_AGAIN),
        "assets/icon.png": ("image/png", ASK_AGAIN),
        BUNDLE: ("text/javascript; charset=utf-8", FOREVER),
        WASM: ("application/wasm", FOREVER),
    }


def test_the_configuration_that_is_put_is_the_one_that_is_printed(
    deployed: Any, archive: Path
) -> None:
    bucket = deployed()
    deploy(archive)

    found = boto3.client("s3").get_object(Bucket=bucket, Key="app-config.js")["Body"].read()

    assert found.decode() == run("config", "--stack", STACK).stdout


def test_what_the_page_names_is_there_before_the_page_and_is_not_put_twice(
    deployed: Any, archive: Path
) -> None:
    deployed()
    put: list[str] = []
    call = BaseClient._make_api_call

    def noted(self: Any, operation: str, parameters: Any) -> Any:
        if operation == "PutObject":
            put.append(parameters["Key"])
        return call(self, operation, parameters)

    with patch.object(BaseClient, "_make_api_call", noted):
        deploy(archive)
        first, put = put, []
        deploy(archive)

    assert first[-1] == "index.html"
    assert set(first[:2]) == {BUNDLE, WASM}
    assert not {BUNDLE, WASM} & set(put)
    assert put[-1] == "index.html"


def test_who_deploys_may_do_what_deploying_does_and_nothing_else(
    deployed: Any, archive: Path
) -> None:
    deployed()
    called: set[str] = set()
    call = BaseClient._make_api_call
    names = {"ListObjectsV2": "ListBucket"}

    def noted(self: Any, operation: str, parameters: Any) -> Any:
        service = self.meta.service_model.service_name
        called.add(f"{service}:{names.get(operation, operation)}")
        return call(self, operation, parameters)

    with patch.object(BaseClient, "_make_api_call", noted):
        assert deploy(archive).exit_code == 0

    statements = RESOURCES["ViewerDeployPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert called == {one["Action"] for one in statements}


def test_a_package_that_is_not_the_released_one_is_not_put(
    deployed: Any, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = deployed()
    monkeypatch.setattr(viewer, "INTEGRITY", "sha512-else")

    told = deploy(archive)

    assert told.exit_code == 1
    assert "SHA-512" in told.output
    assert held(bucket) == {}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("ViewerScripts", "'sha256-else'"), ("ViewerConnects", "https://other.example")],
)
def test_a_viewer_that_its_policy_would_not_let_run_is_not_put(
    deployed: Any, archive: Path, parameter: str, value: str
) -> None:
    bucket = deployed(**{parameter: value})

    told = deploy(archive)

    assert told.exit_code == 2
    assert f'{parameter}="{SCRIPTS if parameter == "ViewerScripts" else CONNECTS}"' in told.output
    assert held(bucket) == {}


def test_a_path_after_logout_that_cloudfront_does_not_know_is_refused(deployed: Any) -> None:
    deployed(ViewerLogin=json.dumps(LOGIN | {"after_logout_path": "/bye"}))

    told = run("config", "--stack", STACK)

    assert told.exit_code == 2
    assert "ViewerLogin.after_logout_path" in told.output


def test_a_stack_without_a_viewer_is_told_how_to_get_one(deployed: Any) -> None:
    deployed(ViewerOnAws="false")

    told = run("config", "--stack", STACK)

    assert told.exit_code == 2
    assert "ViewerOnAws=true" in told.output


def test_a_stack_that_is_not_there_is_told_so(aws: None) -> None:
    assert run("config", "--stack", STACK).exit_code == 2


def _headers() -> Any:
    return RESOURCES["ViewerHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]


def test_cloudfront_sends_the_policy_that_a_node_would_send() -> None:
    template = _headers()["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    given = {"ViewerScripts": SCRIPTS, "ReadersUrl": NODES, "ViewerConnects": CONNECTS}
    sent = template["Fn::Sub"]
    for name, value in given.items():
        sent = sent.replace(f"${{{name}}}", value)

    assert sent == content_policy(inline_scripts(PAGE), (NODES, *CONNECTS.split()))


def test_cloudfront_sends_the_other_headers_that_a_node_would_send(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(PAGE)
    answer = ViewerFiles(tmp_path, config=ViewerConfig()).answer(Request("GET", "/", (), {}))
    assert answer is not None
    of_node = {name: value for name, value in answer.headers if name.startswith("Cross-Origin")}
    security = _headers()["SecurityHeadersConfig"]

    assert {one["Header"]: one["Value"] for one in _headers()["CustomHeadersConfig"]["Items"]} == (
        of_node
    )
    assert security["ReferrerPolicy"]["ReferrerPolicy"] == dict(answer.headers)["Referrer-Policy"]
    assert security["ContentTypeOptions"] == {"Override": True}


def test_only_the_distribution_reads_the_bucket() -> None:
    [statement] = RESOURCES["ViewerBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    bucket = RESOURCES["ViewerBucket"]["Properties"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert statement["Action"] == "s3:GetObject"
    source = statement["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith(":distribution/${ViewerDistribution}")


def test_the_nodes_of_the_stack_let_the_viewer_read_and_notices_lead_to_it() -> None:
    [container] = RESOURCES["NodeTask"]["Properties"]["ContainerDefinitions"]
    given = {one["Name"]: one["Value"] for one in container["Environment"]}

    assert given["VIEWER_ORIGINS"]["Fn::If"][:2] == [
        "ViewerByCloudFront",
        {"Fn::Sub": '["https://${ViewerName}"]'},
    ]


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/", "/index.html"),
        ("/viewer", "/index.html"),
        ("/callback", "/index.html"),
        ("/a.b/viewer", "/index.html"),
        ("/logged-out", "/logged-out.html"),
        (f"/{BUNDLE}", f"/{BUNDLE}"),
        ("/assets/icon.png", "/assets/icon.png"),
    ],
)
def test_a_place_inside_the_viewer_is_its_page(asked: str, served: str) -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("needs Node.js: apt-get install --no-install-recommends nodejs")
    code = RESOURCES["ViewerPaths"]["Properties"]["FunctionCode"]
    call = f"console.log(handler({{request: {{uri: {json.dumps(asked)}}}}}).uri)"

    done = subprocess.run([node, "-e", code + call], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == served


def test_the_scripts_in_the_template_are_the_released_viewers() -> None:
    page = (skip_without_viewer() / "index.html").read_bytes()
    parameter = yaml_parse(TEMPLATE.read_text())["Parameters"]["ViewerScripts"]

    assert tuple(parameter["Default"].split()) == inline_scripts(page)
