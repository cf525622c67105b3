"""Tokens for tests, good and bad: whatever a recipe says, signed by hand."""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teleprefetch.domain.tokens.issuers import IssuerRules, KeysPlace
from teleprefetch.domain.tokens.refusal import Reason, TokenRefusedError
from teleprefetch.domain.tokens.signatures import VerificationKey, read_key_set

NOW_S = 1_795_000_000
ISSUER = "https://login.example/realm"
COGNITO = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Pool"
AUDIENCE = "urn:edge:dicomweb"
RULES = IssuerRules(
    issuer=ISSUER,
    audiences=frozenset({AUDIENCE}),
    scopes=frozenset({"dicomweb.read"}),
    keys=KeysPlace(jwks_uri="https://login.example/keys"),
)
COGNITO_RULES = IssuerRules(
    issuer=COGNITO,
    client_ids=frozenset({"viewer"}),
    token_use="access",
    groups_claim=("cognito:groups",),
)
CLAIMS: dict[str, dict[str, Any]] = {
    "realm": {
        "iss": ISSUER,
        "sub": "reader-1",
        "aud": AUDIENCE,
        "scope": "openid dicomweb.read",
        "groups": ["readers", "neuro"],
        "site": "home",
        "client_id": "ohif",
        "jti": "t-1",
    },
    "cognito": {
        "iss": COGNITO,
        "sub": "reader-2",
        "client_id": "viewer",
        "token_use": "access",
        "scope": "openid",
        "cognito:groups": ["readers"],
        "jti": "t-2",
    },
}


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@functools.cache
def rsa_key(name: str = "rsa-1", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(name: str = "ec-1") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1() if name == "p384" else ec.SECP256R1())


def rsa_jwk(key_id: str, **members: Any) -> dict[str, Any]:
    numbers = rsa_key(key_id).public_key().public_numbers()
    named = {"kty": "RSA", "kid": key_id, "use": "sig", "alg": "RS256"} | members
    return named | {"n": _number(numbers.n), "e": _number(numbers.e)}


def ec_jwk(key_id: str, **members: Any) -> dict[str, Any]:
    numbers = ec_key(key_id).public_key().public_numbers()
    named = {"kty": "EC", "kid": key_id, "use": "sig", "alg": "ES256", "crv": "P-256"}
    point = {"x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}
    return named | point | members


def key_set(*keys: dict[str, Any]) -> bytes:
    listed = keys or (rsa_jwk("rsa-1"), rsa_jwk("ps-1", alg="PS256"), ec_jwk("ec-1"))
    return json.dumps({"keys": listed}).encode()


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class HeldKeys:
    """A `KeySource` that holds the same keys for every issuer."""

    def __init__(self, document: bytes | None = None) -> None:
        self.keys = read_key_set(document or key_set(), ("RS256", "PS256", "ES256"))
        self.asked = 0
        self.now_generation = 0

    def find(self, issuer: str, key_id: str | None, *, wait_s: float) -> VerificationKey:
        self.asked += 1
        if key_id not in self.keys:
            raise TokenRefusedError(Reason.UNKNOWN_KEY)
        return self.keys[key_id]

    def generation(self) -> int:
        return self.now_generation


def make(recipe: Mapping[str, Any] | None = None, *, now_s: int = NOW_S) -> str:
    """A token as a recipe says; without one, a good one.

    `header` and `claims` change the good ones, None takes a member out, and `{"now": 5}` is a
    time; `header_text` and `claims_text` stand for the whole segment, with `$now` in them;
    `sign` names who signs and how, and `shape` what becomes of the token then.
    """
    recipe = recipe or {}
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"} | recipe.get("header", {})
    claims = CLAIMS[recipe.get("issuer", "realm")] | {
        "iat": {"now": -10},
        "exp": {"now": 300},
        **recipe.get("claims", {}),
    }
    header_text = recipe.get("header_text") or _text(header, now_s)
    claims_text = recipe.get("claims_text") or _text(claims, now_s)
    filled = [part.replace("$now", str(now_s)) for part in (header_text, claims_text)]
    body = ".".join(b64(part.encode("utf-8", "surrogatepass")) for part in filled)
    signature = sign(recipe.get("sign", "rsa-1"), body.encode())
    token: str = _SHAPES[recipe.get("shape", "as it is")](f"{body}.{b64(signature)}")
    return token


def _text(members: Mapping[str, Any], now_s: int) -> str:
    filled = {
        name: now_s + value["now"] if isinstance(value, dict) and "now" in value else value
        for name, value in members.items()
        if value is not None
    }
    return json.dumps(filled)


def sign(how: str, body: bytes) -> bytes:
    kind, _, form = how.partition(" ")
    if kind == "hmac":
        return hmac.new(_public_as(form), body, hashlib.sha256).digest()
    if kind == "nobody":
        return b""
    if kind.startswith(("ec", "p384")):
        der = ec_key(kind).sign(body, ec.ECDSA(hashes.SHA256()))
        return der if form == "der" else _raw(der, 48 if kind == "p384" else 32)
    if kind == "ps-1" or form == "pss":
        salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return rsa_key(kind).sign(body, salted, hashes.SHA256())
    return rsa_key(kind).sign(body, padding.PKCS1v15(), hashes.SHA256())


def _raw(der: bytes, length: int) -> bytes:
    return b"".join(number.to_bytes(length, "big") for number in decode_dss_signature(der))


def _public_as(form: str) -> bytes:
    public = rsa_key("rsa-1").public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, info)
    return {
        "pem": pem,
        "pem without newline": pem.strip(),
        "pem with crlf": pem.replace(b"\n", b"\r\n"),
        "pem with spaces": b"  " + pem + b" \n\n",
        "pem with bom": b"\xef\xbb\xbf" + pem,
        "der": public.public_bytes(serialization.Encoding.DER, info),
        "pkcs1": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        "jwk": json.dumps(rsa_jwk("rsa-1")).encode(),
        "jwks": key_set(),
        "empty": b"",
    }[form]


def _replaced(token: str, index: int, part: str) -> str:
    parts = token.split(".")
    parts[index] = part
    return ".".join(parts)


def _other_bits(token: str) -> str:
    """The last character of the signature with an unused bit set: the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def _flipped(token: str) -> str:
    signature = token.rsplit(".", 1)[1]
    return _replaced(token, 2, ("B" if signature[0] == "A" else "A") + signature[1:])


_SHAPES: dict[str, Any] = {
    "as it is": lambda token: token,
    "empty signature": lambda token: _replaced(token, 2, ""),
    "no signature": lambda token: token.rsplit(".", 1)[0],
    "one signature bit flipped": _flipped,
    "unused bits set": _other_bits,
    "signature cut short": lambda token: token[:-14],
    "signature twice": lambda token: token + token.rsplit(".", 1)[1],
    "claims of another token": lambda token: _replaced(
        token, 1, b64(json.dumps(CLAIMS["realm"] | {"sub": "admin"}).encode())
    ),
    "empty payload": lambda token: _replaced(token, 1, ""),
    "four parts": lambda token: token + ".AAAA",
    "five parts": lambda token: token + ".AAAA.BBBB",
    "trailing newline": lambda token: token + "\n",
    "leading space": lambda token: " " + token,
    "space inside": lambda token: token.replace(".", ". ", 1),
    "padding": lambda token: token + "==",
    "plus and slash": lambda token: token[:-4] + "+/+/",
    "with its scheme": lambda token: "Bearer " + token,
    "two tokens": lambda token: f"{token},{token}",
    "a nul": lambda token: token[:-1] + "\0",
    "full-width dots": lambda token: token.replace(".", "\uff0e"),
    "as JSON": lambda token: json.dumps(
        dict(zip(("protected", "payload", "signature"), token.split("."), strict=True))
    ),
    "nothing": lambda token: "",
    "only dots": lambda token: "..",
}
