"""Tokens of a real provider, the npm package oidc-provider, through discovery and the verifier."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from teleprefetch.adapters.keys import KeyRing
from teleprefetch.domain.tokens.issuers import IssuerRules, KeysPlace
from teleprefetch.domain.tokens.refusal import Reason
from teleprefetch.domain.tokens.verifier import Verifier
from tests.waiting import until

HERE = Path(__file__).resolve().parent
HOW_TO_GET_IT = (
    "needs node and npm install oidc-provider@9.13.3; "
    "OIDC_PROVIDER_MODULES names the node_modules that it is in"
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    node = shutil.which("node")
    default = HERE.parents[1] / "node_modules"
    modules = Path(os.environ.get("OIDC_PROVIDER_MODULES", default))
    if node is None or not (modules / "oidc-provider").is_dir():
        pytest.skip(HOW_TO_GET_IT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [node, str(HERE / "oidc_provider.mjs"), str(modules), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(port) or process.poll() is not None, "the provider")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _token(issuer: str, resource: str) -> str:
    with urllib3.PoolManager() as http:
        answer = http.request(
            "POST",
            f"{issuer}/token",
            fields={
                "grant_type": "client_credentials",
                "scope": "dicomweb.read",
                "resource": resource,
            },
            encode_multipart=False,
            headers=urllib3.make_headers(basic_auth="viewer:for-tests"),
        )
    return str(json.loads(answer.data)["access_token"])


@pytest.mark.parametrize("resource", ["urn:edge:rs", "urn:edge:ps", "urn:edge:es"])
def test_a_real_providers_token_is_accepted_and_a_changed_one_is_not(
    issuer: str, resource: str
) -> None:
    rules = IssuerRules(
        issuer=issuer,
        audiences=frozenset({resource}),
        scopes=frozenset({"dicomweb.read"}),
        types=frozenset({"at+jwt"}),
        type_needed=True,
        keys=KeysPlace(),
    )
    keys = KeyRing([rules])
    verifier = Verifier([rules], keys)
    token = _token(issuer, resource)

    keys.warm_up()
    until(keys.generation, "the keys")
    verdict = verifier.verify(token, now_s=time.time(), wait_s=5)
    assert verdict.reason is None
    assert verdict.identity is not None
    assert verdict.identity.groups == {"readers"}
    assert verdict.identity.site == "home"

    header, claims, signature = token.split(".")
    changed = ("B" if signature[0] == "A" else "A") + signature[1:]
    forged = verifier.verify(f"{header}.{claims}.{changed}", now_s=time.time())
    assert forged.reason is Reason.SIGNATURE
    late = verifier.verify(token, now_s=time.time() + 301)
    assert late.reason is Reason.EXPIRED
    other = Verifier([replace(rules, audiences=frozenset({"urn:x"}))], keys)
    assert other.verify(token, now_s=time.time()).reason is Reason.AUDIENCE
    keys.close()
