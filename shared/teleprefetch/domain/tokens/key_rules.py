"""Which public keys are believed: of an algorithm we verify, strong, and for signatures."""

from collections.abc import Mapping
from typing import Any, Final

from teleprefetch.domain.tokens.refusal import TokenRefusedError
from teleprefetch.domain.tokens.strict_json import decode_segment

_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 8192
_LEAST_EXPONENT: Final = 65537  # FIPS 186-5 5.1: greater than 2^16
_MOST_EXPONENT_BITS: Final = 32
_P256_BYTES: Final = 32
_MOST_KEY_ID: Final = 256
_SECRETS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# fmt: off
_SMALL_PRIMES: Final = (
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
)
# fmt: on


class UnusableKeyError(Exception):
    """A key is not for us; the message is the rule it breaks."""


def check_key(jwk: Any, algorithms: tuple[str, ...]) -> tuple[str | None, str, dict[str, str]]:
    """The key's id, its one algorithm, and its public members alone (RFC 7517 4, RFC 7518 6).

    Args:
        jwk: a member of a JWK set.
        algorithms: what the issuer may sign with; a key that names no algorithm is for the first
            that fits its type.

    Raises:
        UnusableKeyError: it breaks a rule; the message says which.
    """
    if not isinstance(jwk, Mapping):
        raise UnusableKeyError("not an object")
    if _SECRETS & set(jwk):
        raise UnusableKeyError("holds a secret")
    _check_purpose(jwk)
    key_id = jwk.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= _MOST_KEY_ID):
        raise UnusableKeyError("kid: not a short string")
    algorithm = _algorithm(jwk, algorithms)
    public = _rsa(jwk) if jwk["kty"] == "RSA" else _p256(jwk)
    return key_id, algorithm, public


def _check_purpose(jwk: Mapping[str, Any]) -> None:
    if jwk.get("use", "sig") != "sig":
        raise UnusableKeyError("use: not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeyError("key_ops: not verify")


def _algorithm(jwk: Mapping[str, Any], algorithms: tuple[str, ...]) -> str:
    kind = jwk.get("kty")
    if kind not in ("RSA", "EC"):
        raise UnusableKeyError("kty: neither RSA nor EC")
    fitting = [name for name in algorithms if name.startswith("ES") is (kind == "EC")]
    named = jwk.get("alg", fitting[0] if fitting else None)
    if named not in fitting:
        raise UnusableKeyError("alg: not one that the issuer may use, or not for this type")
    return str(named)


def _rsa(jwk: Mapping[str, Any]) -> dict[str, str]:
    modulus, exponent = _integer(jwk, "n"), _integer(jwk, "e")
    if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS:
        raise UnusableKeyError("n: too short or too long")
    if exponent < _LEAST_EXPONENT or exponent.bit_length() > _MOST_EXPONENT_BITS:
        raise UnusableKeyError("e: too small or too large")
    if not exponent % 2 or not modulus % 2 or not all(modulus % each for each in _SMALL_PRIMES):
        raise UnusableKeyError("n: has a small factor, or e is even")
    if _is_roca(modulus):
        raise UnusableKeyError("n: of a generator known to be weak")
    return {"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}


def _p256(jwk: Mapping[str, Any]) -> dict[str, str]:
    if jwk.get("crv") != "P-256":
        raise UnusableKeyError("crv: not P-256")
    for name in ("x", "y"):
        if len(_bytes(jwk, name)) != _P256_BYTES:
            raise UnusableKeyError(f"{name}: not 32 bytes")
    return {"kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"]}


def _integer(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name), "big")


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise UnusableKeyError(f"{name}: missing")
    try:
        return decode_segment(text)
    except TokenRefusedError as error:
        raise UnusableKeyError(f"{name}: not base64url") from error


def _is_roca(modulus: int) -> bool:
    """Whether the modulus is a product of primes of the form k*M + (65537^a mod M).

    Such moduli are powers of 65537 modulo each small prime (Nemec et al., "The Return of
    Coppersmith's Attack", CCS 2017, section 2.3; CVE-2017-15361).
    """
    return all(modulus % prime in powers for prime, powers in _POWERS.items())


def _powers_of_65537(prime: int) -> frozenset[int]:
    power, found = 1, set[int]()
    while power not in found:
        found.add(power)
        power = power * 65537 % prime
    return frozenset(found)


_POWERS: Final = {prime: _powers_of_65537(prime) for prime in _SMALL_PRIMES}
