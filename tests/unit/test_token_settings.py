import json
from typing import Any

import pytest

from teleprefetch.domain.tokens.issuers import MOST_AGE_S
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.token_settings import token_issuers, token_settings

ROLE = "arn:aws:iam::123456789012:role/Reader"
COGNITO = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Pool"
ISSUER: dict[str, Any] = {"issuer": "https://login.example/realm", "audiences": ["urn:a"]}
RULE: dict[str, Any] = {"operations": ["search"], "groups": ["readers"], "role_arn": ROLE}


def _environment(issuers: Any = (ISSUER,), roles: Any = (RULE,), **more: str) -> dict[str, str]:
    return {
        "TOKEN_ISSUERS": json.dumps(list(issuers)),
        "READER_ROLES": json.dumps(list(roles)),
        "AUTHORIZER_DATASTORE_ID": "7" * 32,
    } | more


def test_an_issuer_needs_its_name_and_an_audience_and_the_rest_has_defaults() -> None:
    settings = token_settings(_environment())
    (rules,) = settings.token_issuers
    assert rules.audiences == {"urn:a"}
    assert rules.algorithms == ("RS256", "PS256", "ES256")
    assert rules.leeway_s == 0
    assert rules.max_age_s == MOST_AGE_S
    assert rules.groups_claim == ("groups",)
    assert rules.key_hosts == {"login.example"}
    assert settings.reader_roles[0].role_arn == ROLE


def test_cognito_has_its_own_claims() -> None:
    (rules,) = token_issuers(_environment([{"issuer": COGNITO, "client_ids": ["viewer"]}]))
    assert rules.token_use == "access"
    assert rules.groups_claim == ("cognito:groups",)


def test_every_field_can_be_set() -> None:
    given = ISSUER | {
        "client_ids": ["ohif"],
        "token_use": "access",
        "algorithms": ["ES256"],
        "types": ["AT+JWT"],
        "type_needed": True,
        "scopes": ["dicomweb.read"],
        "groups_claim": ["realm_access", "roles"],
        "site_claim": ["place"],
        "ignored_headers": ["x5t"],
        "leeway_s": 5,
        "max_age_s": 3600,
        "max_lifetime_s": 900,
        "jwks_uri": "https://keys.example/keys",
        "key_hosts": ["more.example"],
        "keys_refresh_s": 60,
        "keys_stale_s": 7200,
        "keys_cooldown_s": 5,
    }
    (rules,) = token_issuers(_environment([given]))
    assert rules.types == {"at+jwt"}
    assert rules.max_lifetime_s == 900
    assert rules.keys.stale_s == 7200
    assert rules.key_hosts == {"login.example", "keys.example", "more.example"}


def test_nothing_set_means_nobody_is_let_in() -> None:
    settings = token_settings({"AUTHORIZER_DATASTORE_ID": "*"})
    assert settings.token_issuers == ()
    assert settings.reader_roles == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": None}, "TOKEN_ISSUERS[0].issuer: not a string"),
        ({"issuer": ""}, "TOKEN_ISSUERS[0].issuer: not a string"),
        ({"issuer": "http://login.example"}, "TOKEN_ISSUERS[0].issuer: not an https address"),
        ({"issuer": "login.example"}, "TOKEN_ISSUERS[0].issuer: not an https address"),
        ({"issuer": "https://[::1"}, "TOKEN_ISSUERS[0].issuer: not an https address"),
        ({"jwks_uri": "file:///keys"}, "TOKEN_ISSUERS[0].jwks_uri: not an https address"),
        ({"jwks_uri": "http://10.0.0.1/keys"}, "TOKEN_ISSUERS[0].jwks_uri: not an https address"),
        ({"audiences": []}, "TOKEN_ISSUERS[0].audiences: needed"),
        ({"audiences": "urn:a"}, "TOKEN_ISSUERS[0].audiences: not a list of strings"),
        ({"audiences": [""]}, "TOKEN_ISSUERS[0].audiences: not a string, or an empty one"),
        ({"audiences": [], "client_ids": ["v"]}, "TOKEN_ISSUERS[0].token_use: needed"),
        ({"algorithms": ["HS256"]}, "TOKEN_ISSUERS[0].algorithms: not among RS256"),
        ({"algorithms": ["none"]}, "TOKEN_ISSUERS[0].algorithms: not among RS256"),
        ({"algorithms": []}, "TOKEN_ISSUERS[0].algorithms: empty"),
        ({"types": []}, "TOKEN_ISSUERS[0].types: empty"),
        ({"groups_claim": "groups"}, "TOKEN_ISSUERS[0].groups_claim: not a list"),
        ({"groups_claim": []}, "TOKEN_ISSUERS[0].groups_claim: empty"),
        ({"ignored_headers": ["jwk"]}, "TOKEN_ISSUERS[0].ignored_headers: one that is never"),
        ({"ignored_headers": ["crit"]}, "TOKEN_ISSUERS[0].ignored_headers: one that is never"),
        ({"type_needed": 1}, "TOKEN_ISSUERS[0].type_needed: neither true nor false"),
        ({"leeway_s": 301}, "TOKEN_ISSUERS[0].leeway_s: not from 0 to 300"),
        ({"leeway_s": "5"}, "TOKEN_ISSUERS[0].leeway_s: not a number"),
        ({"leeway_s": True}, "TOKEN_ISSUERS[0].leeway_s: not a number"),
        ({"max_age_s": 43201}, "TOKEN_ISSUERS[0].max_age_s: not from 0 to 43200"),
        ({"keys_cooldown_s": 0}, "TOKEN_ISSUERS[0].keys_cooldown_s: not from 1"),
        ({"keys_stale_s": 20}, "TOKEN_ISSUERS[0].keys_stale_s: less than keys_refresh_s"),
        ({"audience": "urn:a"}, "TOKEN_ISSUERS[0].audience: not a setting"),
    ],
)
def test_a_wrong_field_of_an_issuer_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        token_settings(_environment([ISSUER | changes]))
    assert str(caught.value).startswith(f"settings.{message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role_arn": "Reader"}, "READER_ROLES[0].role_arn: not the ARN of a role"),
        ({"role_arn": ROLE + "\n"}, "READER_ROLES[0].role_arn: not the ARN of a role"),
        ({"operations": ["delete"]}, "READER_ROLES[0].operations: not among frames"),
        ({"operations": None}, "READER_ROLES[0].operations: not a list"),
        ({"groups": None}, "READER_ROLES[0].groups: not a list"),
        ({"group": ["a"]}, "READER_ROLES[0].group: not a setting"),
    ],
)
def test_a_wrong_field_of_a_role_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        token_settings(_environment(roles=[RULE | changes]))
    assert str(caught.value).startswith(f"settings.{message}")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TOKEN_ISSUERS": "{"}, "TOKEN_ISSUERS: not JSON"),
        ({"TOKEN_ISSUERS": "{}"}, "TOKEN_ISSUERS: not a list"),
        ({"TOKEN_ISSUERS": "[7]"}, "TOKEN_ISSUERS[0]: not an object"),
        ({"TOKEN_ISSUERS": json.dumps([ISSUER, ISSUER])}, "TOKEN_ISSUERS: an issuer twice"),
        ({"READER_ROLES": "[[]]"}, "READER_ROLES[0]: not an object"),
        ({"AUTHORIZER_DATASTORE_ID": "x"}, "AUTHORIZER_DATASTORE_ID: neither an id nor *"),
        ({"AUTHORIZER_DATASTORE_ID": ""}, "AUTHORIZER_DATASTORE_ID: neither an id nor *"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        token_settings(_environment(**variables))
    assert str(caught.value) == f"settings.{message}"
