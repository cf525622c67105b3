"""AWS' signature of a request, made in microseconds (IAM user guide, "AWS Signature Version 4").

botocore's own signer takes ten times as long, which at a thousand frames a second is an eighth of
a core. A property test compares the two; the credentials are botocore's, refreshed by it.
"""

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, urlsplit

from botocore.exceptions import NoCredentialsError
from botocore.utils import normalize_url_path

from teleprefetch.adapters.healthimaging_errors import translated

if TYPE_CHECKING:
    from botocore.credentials import Credentials

Headers = Mapping[str, str]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _now() -> datetime:
    return datetime.now(UTC)


class Signer:
    """Signs requests of one service in one region; safe to share between threads.

    Args:
        credentials: the provider's; asked for each request, since they expire.
        service: the name that the service signs by.
        region: where it is.
        clock: the time.
    """

    def __init__(
        self,
        credentials: "Callable[[], Credentials | None]",
        *,
        service: str,
        region: str,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._clock = clock

    def __call__(
        self, url: str, headers: Headers, *, method: str = "GET", body: bytes = b""
    ) -> dict[str, str]:
        """The headers with the signature's; all that are given are signed.

        Raises:
            AccessDeniedError: there are no credentials.
        """
        with translated("credentials"):
            found = self._credentials()
            if found is None:
                raise NoCredentialsError
            keys = found.get_frozen_credentials()
        stamp = self._clock().strftime("%Y%m%dT%H%M%SZ")
        sent = dict(headers) | {"X-Amz-Date": stamp}
        if keys.token:
            sent["X-Amz-Security-Token"] = keys.token
        parts = urlsplit(url)
        names, canonical = _canonical(method, parts, sent, body)
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = _day_key(keys.secret_key, stamp[:8], self._region, self._service)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        sent["Authorization"] = (
            f"{_ALGORITHM} Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return sent


@lru_cache(maxsize=4)
def _day_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """The key of a day, which only its secret, day, region and service make."""
    key = f"AWS4{secret_key}".encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _canonical(method: str, parts: SplitResult, headers: Headers, body: bytes) -> tuple[str, str]:
    """The names of the signed headers, and the canonical request ("Create a canonical request")."""
    lines = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    lines["host"] = _host(parts)
    ordered = sorted(lines)
    names = ";".join(ordered)
    listed = "".join(f"{name}:{lines[name]}\n" for name in ordered)
    path = quote(_path(parts.path), safe="/~")
    query = _query(parts.query) if parts.query else ""
    return names, f"{method}\n{path}\n{query}\n{listed}\n{names}\n{sha256(body).hexdigest()}"


@lru_cache(maxsize=64)
def _path(path: str) -> str:
    return str(normalize_url_path(path))


def _query(query: str) -> str:
    pairs = sorted(pair.partition("=") for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, _, value in pairs)


def _host(parts: SplitResult) -> str:
    """What the Host header says: no default port (RFC 9110 7.2)."""
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"
