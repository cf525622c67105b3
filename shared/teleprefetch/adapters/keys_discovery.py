"""OpenID Connect Discovery 1.0: where an issuer says its keys are."""

from teleprefetch.adapters.keys_http import Fetch, check_url
from teleprefetch.domain.tokens.refusal import TokenRefusedError
from teleprefetch.domain.tokens.strict_json import read_object
from teleprefetch.errors import CorruptPayloadError

_PATH = "/.well-known/openid-configuration"


def discover_keys(issuer: str, fetch: Fetch, *, hosts: frozenset[str]) -> str:
    """The address of an issuer's keys, by its own document (Discovery 1.0, 4).

    Raises:
        CorruptPayloadError: the document is not JSON, is another issuer's (4.3), or names no
            address.
        InvalidPayloadError: the address is at a host that is not allowed, or not https.
        OriginUnavailableError: there is no answer.
    """
    try:
        document = read_object(fetch(issuer.rstrip("/") + _PATH))
    except TokenRefusedError as error:
        raise CorruptPayloadError("discovery: not a JSON object") from error
    if document.get("issuer") != issuer:
        raise CorruptPayloadError("discovery: issuer is another one")
    address = document.get("jwks_uri")
    if not isinstance(address, str):
        raise CorruptPayloadError("discovery: jwks_uri is missing")
    check_url(address, hosts)
    return address
