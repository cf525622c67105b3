import json
from typing import Any

import pytest

from teleprefetch.domain.tokens.key_rules import UnusableKeyError, check_key
from teleprefetch.domain.tokens.signatures import read_key_set
from teleprefetch.errors import CorruptPayloadError
from tests.token_making import b64, ec_jwk, key_set, make, rsa_jwk, rsa_key

ALGORITHMS = ("RS256", "PS256", "ES256")
_PRIMES = [n for n in range(2, 702) if all(n % d for d in range(2, int(n**0.5) + 1))]


def _modulus(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _as_weak_chips_made_them() -> int:
    """A modulus of the form of CVE-2017-15361: a power of 65537 modulo a product of primes."""
    primorial = 1
    for prime in _PRIMES[:39]:
        primorial *= prime
    start = pow(65537, 12345, primorial)
    times = (1 << 2047) // primorial + 1
    value = start + primorial * times
    return value if value % 2 else value + primorial


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a string", "not an object"),
        (None, "not an object"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "holds a secret"),
        (rsa_jwk("rsa-1", d="AQAB"), "holds a secret"),
        (ec_jwk("ec-1", d="AQAB"), "holds a secret"),
        (rsa_jwk("rsa-1", use="enc"), "use"),
        (rsa_jwk("rsa-1", key_ops=["encrypt"]), "key_ops"),
        (rsa_jwk("rsa-1", key_ops="verify"), "key_ops"),
        (rsa_jwk("rsa-1", kid=7), "kid"),
        (rsa_jwk("rsa-1", kid=""), "kid"),
        (rsa_jwk("rsa-1", kty="OKP"), "kty"),
        (rsa_jwk("rsa-1", kty=["RSA"]), "kty"),
        (rsa_jwk("rsa-1", alg="RS512"), "alg"),
        (rsa_jwk("rsa-1", alg="HS256"), "alg"),
        (rsa_jwk("rsa-1", alg="ES256"), "alg"),
        (rsa_jwk("rsa-1", alg=None), "alg"),
        (ec_jwk("ec-1", alg="RS256"), "alg"),
        (ec_jwk("ec-1", crv="P-384"), "crv"),
        (ec_jwk("ec-1", crv="secp256k1"), "crv"),
        (ec_jwk("ec-1", x="AQAB"), "x: not 32 bytes"),
        (ec_jwk("ec-1", y=None), "y: missing"),
        (rsa_jwk("rsa-1") | {"n": "++//"}, "n: not base64url"),
        (rsa_jwk("rsa-1") | {"n": None}, "n: missing"),
        (rsa_jwk("rsa-1") | {"n": _modulus(2**1023 + 1155)}, "n: too short"),
        (rsa_jwk("rsa-1") | {"n": _modulus(2**9000 + 1)}, "n: too short or too long"),
        (rsa_jwk("rsa-1") | {"e": "AQ"}, "e: too small"),
        (rsa_jwk("rsa-1") | {"e": "Aw"}, "e: too small"),
        (rsa_jwk("rsa-1") | {"e": "AQAA"}, "e: too small"),
        (rsa_jwk("rsa-1") | {"e": "AQAC"}, "e is even"),
        (rsa_jwk("rsa-1") | {"e": "AQAAAAAB"}, "e: too small or too large"),
        (rsa_jwk("rsa-1") | {"n": _modulus(2**2047)}, "small factor"),
        (rsa_jwk("rsa-1") | {"n": _modulus((2**2040 + 1) * 167 | 1)}, "n: "),
        (rsa_jwk("rsa-1") | {"n": _modulus(_as_weak_chips_made_them())}, "known to be weak"),
    ],
)
def test_a_key_that_is_weak_secret_or_not_for_signatures_is_unusable(
    key: Any, message: str
) -> None:
    with pytest.raises(UnusableKeyError, match=message):
        check_key(key, ALGORITHMS)


def test_ordinary_rsa_keys_are_not_taken_for_weak_ones() -> None:
    for name in ("rsa-1", "rsa-2", "ps-1"):
        check_key(rsa_jwk(name), ALGORITHMS)


def test_a_key_that_names_no_algorithm_is_for_the_first_that_fits_it() -> None:
    without = {name: value for name, value in rsa_jwk("rsa-1").items() if name != "alg"}
    assert check_key(without, ALGORITHMS)[1] == "RS256"
    assert check_key(without, ("ES256", "PS256"))[1] == "PS256"
    with pytest.raises(UnusableKeyError, match="alg"):
        check_key(without, ("ES256",))


def test_only_public_members_go_on() -> None:
    key = rsa_jwk("rsa-1", x5c=["MIIB"], x5t="abc", **{"x5t#S256": "abc"})
    assert set(check_key(key, ALGORITHMS)[2]) == {"kty", "n", "e"}


def test_a_point_that_is_not_on_the_curve_is_no_key() -> None:
    off = ec_jwk("ec-1", y=ec_jwk("ec-2")["y"])
    with pytest.raises(CorruptPayloadError):
        read_key_set(key_set(off), ALGORITHMS)


def test_bad_keys_among_good_ones_are_passed_over() -> None:
    good = rsa_jwk("rsa-1")
    others = [{"kty": "oct", "k": "AA", "kid": "o"}, 7, ec_jwk("ec-1", crv="P-521"), {}]
    keys = read_key_set(json.dumps({"keys": [*others, good]}).encode(), ALGORITHMS)
    assert set(keys) == {"rsa-1"}
    assert keys["rsa-1"].signed(make())


def test_an_id_that_keys_share_is_nobodys_even_if_one_of_them_is_unusable() -> None:
    for twin in (rsa_jwk("rsa-2", kid="rsa-1"), {"kty": "oct", "k": "AA", "kid": "rsa-1"}):
        keys = read_key_set(key_set(rsa_jwk("rsa-1"), twin, ec_jwk("ec-1")), ALGORITHMS)
        assert set(keys) == {"ec-1"}


def test_a_key_without_an_id_serves_where_it_is_the_only_one() -> None:
    nameless = {name: value for name, value in rsa_jwk("rsa-1").items() if name != "kid"}
    assert set(read_key_set(key_set(nameless), ALGORITHMS)) == {None}
    assert set(read_key_set(key_set(nameless, ec_jwk("ec-1")), ALGORITHMS)) == {"ec-1"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [], "keys": []}',
        b"\xff\xfe",
        json.dumps({"keys": [{}] * 201}).encode(),
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_key_set_or_an_empty_one_is_corrupt(document: bytes) -> None:
    with pytest.raises(CorruptPayloadError):
        read_key_set(document, ALGORITHMS)


def test_a_key_verifies_with_its_one_algorithm_alone() -> None:
    key = read_key_set(key_set(rsa_jwk("rsa-1")), ALGORITHMS)["rsa-1"]
    assert key.signed(make())
    assert not key.signed(make({"header": {"alg": "PS256"}, "sign": "rsa-1 pss"}))
    assert not key.signed(make({"header": {"alg": "none"}, "sign": "nobody"}))
    assert not key.signed(make({"header": {"alg": "HS256"}, "sign": "hmac pem"}))
    assert rsa_key("rsa-1").key_size == 2048
