"""Signatures (RFC 7515), computed by joserfc for one key with one algorithm each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from teleprefetch.domain.tokens.compact import MOST_CHARACTERS
from teleprefetch.domain.tokens.key_rules import UnusableKeyError, check_key
from teleprefetch.domain.tokens.refusal import TokenRefusedError
from teleprefetch.domain.tokens.strict_json import read_object
from teleprefetch.errors import CorruptPayloadError

_MOST_KEYS: Final = 200


class _Registry(jws.JWSRegistry):
    """joserfc's checks with our limits; which header members may be is decided before."""

    max_header_length = MOST_CHARACTERS
    max_payload_length = MOST_CHARACTERS
    max_signature_length = MOST_CHARACTERS


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm that it is used with."""

    key_id: str | None
    algorithm: str
    public: tuple[tuple[str, str], ...]
    _key: RSAKey | ECKey
    _registry: _Registry

    def signed(self, token: str) -> bool:
        """Whether a token in compact form carries this key's signature."""
        try:
            jws.deserialize_compact(token, self._key, registry=self._registry)
        except (JoseError, ValueError):
            return False
        return True


def verification_key(jwk: Any, algorithms: tuple[str, ...]) -> VerificationKey:
    """The key that a member of a JWK set is.

    Raises:
        UnusableKeyError: it breaks a rule of `key_rules`, or is no point of its curve.
    """
    key_id, algorithm, public = check_key(jwk, algorithms)
    members: dict[str, str | list[str]] = {**public}
    try:
        key = (RSAKey if public["kty"] == "RSA" else ECKey).import_key(members)
        key.get_op_key("verify")
    except (JoseError, ValueError) as error:
        raise UnusableKeyError("not a public key") from error
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    return VerificationKey(key_id, algorithm, tuple(sorted(public.items())), key, registry)


def read_key_set(document: bytes, algorithms: tuple[str, ...]) -> dict[str | None, VerificationKey]:
    """The usable keys of a JWK set by their ids (RFC 7517 5); the others are passed over.

    An id that several keys share is nobody's: which of them is meant cannot be told. The key
    without an id is there only if it is the set's only usable key.

    Raises:
        CorruptPayloadError: it is not a JWK set, or holds no usable key.
    """
    listed = _keys_of(document)
    usable: list[VerificationKey] = []
    for jwk in listed:
        try:
            usable.append(verification_key(jwk, algorithms))
        except UnusableKeyError:  # one bad key is no reason to lose the good ones
            continue
    named = [jwk["kid"] for jwk in listed if isinstance(jwk, Mapping) and "kid" in jwk]
    keys = {key.key_id: key for key in usable if named.count(key.key_id) == 1}
    if len(usable) == 1 and usable[0].key_id is None:
        keys = {None: usable[0]}
    if not keys:
        raise CorruptPayloadError("key set: holds no usable key")
    return keys


def _keys_of(document: bytes) -> list[Any]:
    try:
        listed = read_object(document).get("keys")
    except TokenRefusedError as error:
        raise CorruptPayloadError("key set: not a JSON object") from error
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise CorruptPayloadError("key set: keys is not a list, or a very long one")
    return listed
