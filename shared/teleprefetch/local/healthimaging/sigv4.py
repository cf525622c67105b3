"""Signature Version 4, recomputed (IAM user guide, "Create a signed AWS API request")."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from teleprefetch.local.healthimaging.wire import Request, ServiceError

SERVICE: Final = "medical-imaging"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_MAX_SKEW: Final = timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)"
    r"/(?P<service>[^/,]+)/aws4_request, ?SignedHeaders=(?P<signed>[a-z0-9;-]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks signatures with the secrets it knows, by access key id."""

    credentials: Mapping[str, str]
    region: str

    def verify(self, request: Request, now: datetime) -> None:
        """Return if the request is signed well, by a known key, for this service, just now.

        Raises:
            ServiceError: one of the 403s; the message names what is wrong.
        """
        scope = _scope_of(request)
        self._check_scope(scope)
        stamp = request.headers.get("x-amz-date", "")
        _check_time(stamp, scope["day"], now)
        expected = _signature(request, scope, stamp, self.credentials[scope["key"]])
        if not hmac.compare_digest(expected, scope["signature"]):
            raise ServiceError("InvalidSignatureException", "The request signature does not match")

    def _check_scope(self, scope: Mapping[str, str]) -> None:
        if scope["key"] not in self.credentials:
            raise ServiceError("UnrecognizedClientException", "The security token is invalid")
        if scope["service"] != SERVICE or scope["region"] != self.region:
            raise ServiceError(
                "InvalidSignatureException", "Credential is scoped to another service or Region"
            )
        if not {"host", "x-amz-date"} <= set(scope["signed"].split(";")):
            raise ServiceError(
                "IncompleteSignatureException", "SignedHeaders leaves out host or x-amz-date"
            )


def _scope_of(request: Request) -> dict[str, str]:
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise ServiceError("IncompleteSignatureException", "Authorization is not Signature V4")
    return match.groupdict()


def _check_time(stamp: str, day: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ServiceError(
            "IncompleteSignatureException", "X-Amz-Date is not a basic ISO 8601 time"
        ) from error
    if not stamp.startswith(day):
        raise ServiceError("InvalidSignatureException", "Credential and X-Amz-Date differ")
    if abs(now - signed_at) > _MAX_SKEW:
        raise ServiceError("InvalidSignatureException", "Signature expired or not yet current")


def _signature(request: Request, scope: Mapping[str, str], stamp: str, secret: str) -> str:
    canonical = hashlib.sha256(_canonical_request(request, scope["signed"]).encode()).hexdigest()
    credential_scope = f"{scope['day']}/{scope['region']}/{scope['service']}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{credential_scope}\n{canonical}"
    key = _signing_key(secret, scope["day"], scope["region"], scope["service"])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical_request(request: Request, signed_headers: str) -> str:
    headers = "".join(
        f"{name}:{' '.join(request.headers.get(name, '').split())}\n"
        for name in signed_headers.split(";")
    )
    return "\n".join(
        (
            request.method,
            quote(_without_dots(request.raw_path), safe="/-_.~"),
            _canonical_query(request.raw_query),
            headers,
            signed_headers,
            _payload_hash(request),
        )
    )


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in {"", "."}:
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _canonical_query(raw_query: str) -> str:
    if not raw_query:
        return ""
    pairs = (pair.partition("=") for pair in raw_query.split("&"))
    return "&".join(f"{name}={value}" for name, value in sorted(map(_encoded, pairs)))


def _encoded(pair: tuple[str, str, str]) -> tuple[str, str]:
    name, _, value = pair
    return quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")


def _payload_hash(request: Request) -> str:
    actual = hashlib.sha256(request.body).hexdigest()
    claimed = request.headers.get("x-amz-content-sha256", actual)
    if claimed not in {actual, "UNSIGNED-PAYLOAD"}:
        raise ServiceError(
            "InvalidSignatureException", "x-amz-content-sha256 is not that of the body"
        )
    return claimed
