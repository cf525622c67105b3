import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleprefetch.domain.tokens.claims import Identity
from teleprefetch.domain.tokens.decisions import Decisions, digest_of
from teleprefetch.domain.tokens.issuers import IssuerRules
from teleprefetch.domain.tokens.refusal import PASSING, Reason, TokenRefusedError
from teleprefetch.domain.tokens.verifier import Verifier
from tests.token_making import (
    AUDIENCE,
    COGNITO,
    COGNITO_RULES,
    ISSUER,
    NOW_S,
    RULES,
    HeldKeys,
    b64,
    key_set,
    make,
    rsa_jwk,
)

DATA = Path(__file__).resolve().parents[1] / "data/tokens"
REFUSED: list[dict[str, Any]] = json.loads((DATA / "refused.json").read_text())
ACCEPTED: list[dict[str, Any]] = json.loads((DATA / "accepted.json").read_text())


def verifier_of(*rules: IssuerRules, keys: HeldKeys | None = None) -> Verifier:
    return Verifier(rules or (RULES, COGNITO_RULES), keys or HeldKeys())


def reason_of(recipe: dict[str, Any], *rules: IssuerRules) -> Reason | None:
    return verifier_of(*rules).verify(make(recipe), now_s=NOW_S).reason


@pytest.mark.parametrize("recipe", REFUSED, ids=lambda recipe: recipe["name"])
def test_an_attack_is_refused_for_its_own_reason(recipe: dict[str, Any]) -> None:
    verdict = verifier_of().verify(make(recipe), now_s=NOW_S)
    assert verdict.identity is None
    assert verdict.reason == recipe["reason"]


def test_each_reason_is_reached_by_an_attack_or_by_a_test_of_its_own() -> None:
    elsewhere = {Reason.KEYS_UNAVAILABLE, Reason.LIFETIME}
    assert {recipe["reason"] for recipe in REFUSED} == set(Reason) - elsewhere


@pytest.mark.parametrize("recipe", ACCEPTED, ids=lambda recipe: recipe["name"])
def test_a_good_token_is_accepted(recipe: dict[str, Any]) -> None:
    verdict = verifier_of().verify(make(recipe), now_s=NOW_S)
    assert verdict.reason is None
    assert verdict.identity is not None


class _Frozen(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "_Frozen":
        return cls.fromtimestamp(NOW_S, tz or UTC)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], bool]:
    monkeypatch.setattr("jwt.api_jwt.datetime", _Frozen)
    keys = {key["kid"]: jwt.PyJWK(key) for key in json.loads(key_set())["keys"]}

    def accepts(token: str, issuer: str) -> bool:
        try:
            key = keys[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=AUDIENCE if issuer == "realm" else None,
                issuer=ISSUER if issuer == "realm" else COGNITO,
                options={"require": ["exp", "iat", "iss", "sub"]},
            )
        except (jwt.PyJWTError, KeyError, RecursionError):
            return False
        return True

    return accepts


@pytest.mark.parametrize("recipe", [*REFUSED, *ACCEPTED], ids=lambda recipe: recipe["name"])
def test_pyjwt_agrees_but_where_the_list_says_why_not(recipe: dict[str, Any], oracle: Any) -> None:
    ours = recipe in ACCEPTED
    differs = "pyjwt_accepts_because" in recipe or "pyjwt_refuses_because" in recipe
    assert oracle(make(recipe), recipe.get("issuer", "realm")) is (ours is not differs)


def test_an_identity_says_who_asks_and_until_when() -> None:
    verdict = verifier_of().verify(make(), now_s=NOW_S)
    assert verdict.identity == Identity(
        issuer=ISSUER,
        subject="reader-1",
        groups=frozenset({"readers", "neuro"}),
        scopes=frozenset({"openid", "dicomweb.read"}),
        client_id="ohif",
        site="home",
        token_id="t-1",
        ends_at_s=NOW_S + 300,
    )
    assert verdict.token_sha256 == digest_of(make()).hex()


def test_a_token_ends_with_its_age_if_that_is_sooner() -> None:
    token = make({"claims": {"iat": {"now": -43000}, "exp": {"now": 90000}}})
    identity = verifier_of().verify(token, now_s=NOW_S).identity
    assert identity is not None
    assert identity.ends_at_s == NOW_S + 200


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": {"now": -29}}, None),
        ({"exp": {"now": -30}}, Reason.EXPIRED),
        ({"iat": {"now": 30}}, None),
        ({"iat": {"now": 31}}, Reason.ISSUED_LATER),
        ({"nbf": {"now": 30}}, None),
        ({"nbf": {"now": 31}}, Reason.NOT_YET),
        ({"iat": {"now": -43201}}, Reason.TOO_OLD),
    ],
)
def test_leeway_is_for_clocks_and_not_for_age(claims: Any, reason: Reason | None) -> None:
    assert reason_of({"claims": claims}, replace(RULES, leeway_s=30)) == reason


def test_a_lifetime_can_be_limited() -> None:
    recipe = {"claims": {"exp": {"now": 3591}}}
    assert reason_of(recipe, replace(RULES, max_lifetime_s=3600)) is Reason.LIFETIME
    assert reason_of(recipe, replace(RULES, max_lifetime_s=3601)) is None


def test_an_issuer_may_want_its_one_type_and_no_other() -> None:
    strict = replace(RULES, types=frozenset({"at+jwt"}), type_needed=True)
    assert reason_of({}, strict) is None
    assert reason_of({"header": {"typ": "JWT"}}, strict) is Reason.TYPE
    assert reason_of({"header": {"typ": None}}, strict) is Reason.TYPE


def test_a_header_member_can_be_ignored_for_one_issuer_alone() -> None:
    recipe = {"header": {"x5t": "abc"}}
    assert reason_of(recipe, replace(RULES, ignored_headers=frozenset({"x5t"}))) is None
    assert reason_of({**recipe, "issuer": "cognito"}) is Reason.HEADER_MEMBER


def test_an_algorithm_that_the_issuer_does_not_use_is_refused_before_keys_are_asked() -> None:
    keys = HeldKeys()
    token = make({"header": {"alg": "ES256", "kid": "ec-1"}, "sign": "ec-1"})
    rules = replace(RULES, algorithms=("RS256",))
    verdict = Verifier([rules], keys).verify(token, now_s=NOW_S)
    assert verdict.reason is Reason.ALGORITHM
    assert keys.asked == 0


def test_groups_are_found_on_a_path() -> None:
    rules = replace(RULES, groups_claim=("realm_access", "roles"))
    token = make({"claims": {"realm_access": {"roles": ["a", "b"]}}})
    identity = verifier_of(rules).verify(token, now_s=NOW_S).identity
    assert identity is not None
    assert identity.groups == {"a", "b"}


def test_one_issuers_rules_are_never_anothers() -> None:
    both = {"issuer": "cognito", "claims": {"iss": ISSUER}}
    assert reason_of(both) is Reason.AUDIENCE
    assert reason_of({"claims": {"iss": COGNITO}}) is Reason.CLIENT


def test_the_second_time_no_signature_is_computed() -> None:
    keys = HeldKeys()
    verifier = verifier_of(keys=keys)
    first = verifier.verify(make(), now_s=NOW_S)
    assert verifier.verify(make(), now_s=NOW_S + 299) is first
    assert keys.asked == 1


def test_a_remembered_acceptance_ends_with_its_token() -> None:
    verifier = verifier_of()
    assert verifier.verify(make(), now_s=NOW_S).reason is None
    assert verifier.verify(make(), now_s=NOW_S + 300).reason is Reason.EXPIRED


def test_a_verdict_is_forgotten_when_keys_change() -> None:
    keys = HeldKeys()
    verifier = verifier_of(keys=keys)
    assert verifier.verify(make(), now_s=NOW_S).reason is None
    keys.keys = HeldKeys(key_set(rsa_jwk("rsa-2"))).keys
    keys.now_generation += 1
    assert verifier.verify(make(), now_s=NOW_S).reason is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("recipe", [r for r in REFUSED if r["reason"] in set(PASSING)])
def test_a_refusal_that_time_may_heal_is_not_remembered(recipe: dict[str, Any]) -> None:
    decisions = Decisions()
    Verifier([RULES, COGNITO_RULES], HeldKeys(), decisions=decisions).verify(
        make(recipe), now_s=NOW_S
    )
    assert len(decisions) == 0


def test_one_character_more_is_another_token() -> None:
    verifier = verifier_of()
    token = make()
    assert verifier.verify(token, now_s=NOW_S).reason is None
    for other in (token[:-1], token + "A", token + "\n", token.swapcase(), token[1:]):
        assert verifier.verify(other, now_s=NOW_S).identity is None


def test_a_flood_of_bad_tokens_is_bounded_and_forgets_no_good_one() -> None:
    keys, decisions = HeldKeys(), Decisions(most=10, most_refusals=10)
    verifier = Verifier([RULES], keys, decisions=decisions)
    verifier.verify(make(), now_s=NOW_S)
    for _ in range(500):
        verifier.verify(secrets.token_urlsafe(30), now_s=NOW_S)
    assert len(decisions) == 11
    assert keys.asked == 1
    assert verifier.verify(make(), now_s=NOW_S).reason is None
    assert keys.asked == 1


def test_a_token_of_8_mb_is_refused_unread() -> None:
    verdict = verifier_of().verify("a" * 8_000_000, now_s=NOW_S)
    assert verdict.reason is Reason.TOO_LONG


def test_a_refusal_says_nothing_of_the_token() -> None:
    for reason in Reason:
        assert str(TokenRefusedError(reason)) == f"token: {reason.value}"


@settings(deadline=None)
@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"))
def test_whatever_the_text_there_is_a_verdict(text: str) -> None:
    assert verifier_of().verify(text, now_s=NOW_S).identity is None


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_the_segments_hold_there_is_a_verdict(header: bytes, claims: bytes) -> None:
    token = f"{b64(header)}.{b64(claims)}.{b64(b'x' * 256)}"
    assert verifier_of().verify(token, now_s=NOW_S).identity is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.sampled_from(["exp", "iat", "nbf", "iss", "aud", "sub", "scope", "groups", "site", "jti"]),
    _JSON,
)
def test_a_signed_claim_of_any_kind_gets_a_verdict(name: str, value: Any) -> None:
    verdict = verifier_of().verify(make({"claims": {name: value}}), now_s=NOW_S)
    assert (verdict.identity is None) is not (verdict.reason is None)


def test_threads_share_a_verifier() -> None:
    verifier = verifier_of()
    tokens = [make({"claims": {"jti": f"t-{n}"}}) for n in range(20)]
    wrong: list[Any] = []

    def ask() -> None:
        for token in tokens:
            verdict = verifier.verify(token, now_s=NOW_S)
            if verdict.identity is None:
                wrong.append(verdict)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
