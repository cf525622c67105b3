"""`teleprefetch up --oidc`: what is asked of a provider, and what a node is told of it."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from teleprefetch.cli import app
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError
from teleprefetch.local.healthimaging.server import HttpServer
from teleprefetch.local.healthimaging.wire import Request, Response, json_response
from teleprefetch.local.login.issuer import LocalIssuer
from teleprefetch.local.login.outside import outside_provider
from teleprefetch.local.login.people import READER
from teleprefetch.local.login.provider import Provider
from teleprefetch.local.stack import LocalStack, StackOptions
from teleprefetch.settings import NodeSettings, ViewerLogin
from teleprefetch.token_settings import token_issuers


class Elsewhere:
    """A provider that answers with whatever document it is given."""

    def __init__(self) -> None:
        self.document: object = {}
        self.status = 200

    def answer(self, request: Request) -> Response:
        assert request.target == "/realm/.well-known/openid-configuration"
        return Response(self.status, json_response(self.document).body)


@pytest.fixture
def elsewhere() -> Iterator[tuple[Elsewhere, str]]:
    provider = Elsewhere()
    with HttpServer(port=0, answer=provider.answer, link=None) as server:
        yield provider, f"{server.url}/realm"


def test_a_node_believes_the_provider_and_its_viewer_asks_there() -> None:
    with LocalIssuer() as issuer:
        provider = outside_provider(issuer.url, client_id="seen", reader="who")

    variables = provider.node_variables()
    [rules] = token_issuers(variables)
    assert (rules.issuer, rules.audiences) == (issuer.url, {"urn:teleprefetch:dicomweb"})
    assert rules.scopes == frozenset()
    login = ViewerLogin.parse(json.loads(variables["VIEWER_LOGIN"]), at="VIEWER_LOGIN")
    assert (login.authority, login.client_id) == (issuer.url, "seen")
    assert json.loads(variables["ROLE_GROUPS"]) == {
        issuer.url: {"readers": "reader", "operators": "operator"}
    }
    assert variables.keys() <= {name.upper() for name in NodeSettings.model_fields}
    assert provider.reads.model_dump() == {"issuer": issuer.url, "subject": "who", "groups": ()}


def test_without_a_reader_the_readers_group_is_assigned_the_studies() -> None:
    with LocalIssuer() as issuer:
        reads = outside_provider(issuer.url, client_id="seen").reads

    assert (reads.subject, reads.groups) == (None, ("readers",))


def test_a_token_endpoint_elsewhere_is_let_through_to(elsewhere: tuple[Elsewhere, str]) -> None:
    provider, url = elsewhere
    provider.document = {"issuer": f"{url}/", "token_endpoint": "https://login.example:8443/t"}

    found = outside_provider(url, client_id="v", audience="aud-1", scope="openid email")

    assert found.issuer == f"{url}/"  # as its tokens name it
    assert found.viewer_login().origins == ("https://login.example:8443",)
    assert found.viewer_login().scope == "openid email"
    [rules] = token_issuers(found.node_variables())
    assert (rules.issuer, rules.audiences) == (f"{url}/", {"aud-1"})


@pytest.mark.parametrize(
    ("document", "status", "error"),
    [
        ({"issuer": "https://another.example", "token_endpoint": "https://x/t"}, 200, "name"),
        ({"token_endpoint": "https://x/t"}, 200, "name"),
        ({"issuer": "{url}"}, 200, "token endpoint"),
        ({"issuer": "{url}", "token_endpoint": "http://["}, 200, "address"),
        ([], 200, "name"),
        ({}, 404, "discovery"),
    ],
)
def test_a_document_that_is_not_the_providers_is_refused(
    elsewhere: tuple[Elsewhere, str], document: object, status: int, error: str
) -> None:
    provider, url = elsewhere
    provider.document = json.loads(json.dumps(document).replace("{url}", url))
    provider.status = status

    with pytest.raises((InvalidPayloadError, OriginUnavailableError), match=error):
        outside_provider(url, client_id="v")


@pytest.mark.parametrize(
    "url",
    ["http://login.example", "login.example", "ftp://x", "http://[", "https://u:p@login.example"],
)
def test_an_address_that_may_not_be_asked_is_refused(url: str) -> None:
    with pytest.raises(InvalidPayloadError, match="--oidc"):
        outside_provider(url, client_id="v")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--oidc", "https://login.example"], "--oidc-client"),
        (["--oidc-client", "v"], "--oidc"),
        (["--oidc-reader", "who"], "--oidc"),
        (["--oidc", "http://login.example", "--oidc-client", "v"], "--oidc"),
        (["--port", "70000"], "--port"),
    ],
)
def test_what_cannot_be_used_is_told_by_the_name_of_the_option(
    options: list[str], named: str
) -> None:
    ran = CliRunner().invoke(app, ["up", *options])

    assert ran.exit_code == 2
    assert named in ran.output


def test_a_stack_with_a_provider_of_others_mints_no_tokens() -> None:
    stack = LocalStack(StackOptions(provider=Provider(issuer="https://login.example")))

    assert stack.provider.issuer == "https://login.example"
    with pytest.raises(InvalidPayloadError, match="provider"):
        stack.token_for(READER)
