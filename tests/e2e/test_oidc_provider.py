"""Tokens of a real provider, the npm package oidc-provider, through discovery and the verifier."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import urllib3

from teleprefetch.adapters.keys import KeyRing
from teleprefetch.domain.tokens.issuers import IssuerRules, KeysPlace
from teleprefetch.domain.tokens.refusal import Reason
from teleprefetch.domain.tokens.verifier import Verifier
from tests.oidc_provider import run_provider
from tests.waiting import until


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with run_provider() as url:
        yield url


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
