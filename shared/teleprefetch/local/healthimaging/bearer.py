"""Bearer tokens on DICOMweb (developer guide, "OIDC authentication for DICOMweb APIs").

HealthImaging looks at the times in a token and shows it to the data store's authorizer; it never
checks the signature itself.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from threading import Thread
from typing import Any, Final

from teleprefetch.local.healthimaging.wire import Request, ServiceError

Authorizer = Callable[[dict[str, str]], dict[str, Any]]
_LIMIT_S: Final = 1.0
_MAX_AGE_S: Final = 12 * 3600
_ROLE = re.compile(r"arn:aws(?:-[a-z-]+)?:iam::(\d{12}):role/\S+")


class BearerGuard:
    """Checks a token's claims, then asks the authorizer, as HealthImaging does."""

    def __init__(
        self,
        datastore_id: str,
        account_id: str,
        authorizer: Authorizer | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._datastore_id = datastore_id
        self._account_id = account_id
        self._authorizer = authorizer
        self._clock = clock

    def check(self, request: Request, operation: str) -> None:
        """Return if the bearer of the request's token may perform the operation.

        Raises:
            ServiceError: 403 for a bad token or a denial, 408 for a slow authorizer, 424 for one
                that fails or answers otherwise than it must.
        """
        if self._authorizer is None:
            raise ServiceError("AccessDeniedException", "The data store has no authorizer")
        token = request.headers["authorization"][7:].strip()
        _check_claims(token, self._clock().timestamp())
        event = {
            "datastoreId": self._datastore_id,
            "operation": operation,
            "bearerToken": token,
        }
        self._check_answer(_call(self._authorizer, event))

    def _check_answer(self, answer: Any) -> None:
        if not isinstance(answer, dict) or set(answer) != {"isTokenValid", "roleArn"}:
            raise ServiceError("AuthorizerMisconfigurationException", "Authorizer Misconfiguration")
        valid, role_arn = answer["isTokenValid"], answer["roleArn"]
        if not isinstance(valid, bool) or not isinstance(role_arn, str):
            raise ServiceError("AuthorizerMisconfigurationException", "Authorizer Misconfiguration")
        if not valid:
            raise ServiceError("AccessDeniedException", "Invalid or Expired Token")
        if not role_arn:
            raise ServiceError("AccessDeniedException", "Access Denied")
        role = _ROLE.fullmatch(role_arn)
        if role is None:
            raise ServiceError("AuthorizerMisconfigurationException", "Authorizer Misconfiguration")
        if role.group(1) != self._account_id:
            raise ServiceError("AuthorizerCrossAccountException", "Authorizer Cross Account Access")


def _call(authorizer: Authorizer, event: dict[str, str]) -> dict[str, Any]:
    future: Future[dict[str, Any]] = Future()

    def run() -> None:
        try:
            future.set_result(authorizer(event))
        except BaseException as error:  # noqa: BLE001 - it is handed to the waiting thread
            future.set_exception(error)

    Thread(target=run, name="authorizer", daemon=True).start()
    try:
        failure = future.exception(timeout=_LIMIT_S)
    except FutureTimeoutError as error:
        raise ServiceError("AuthorizerTimeoutException", "Authorizer Timeout") from error
    if failure is not None:
        raise ServiceError("AuthorizerFailedException", "Authorizer Failed") from failure
    return future.result()


def _check_claims(token: str, now_s: float) -> None:
    claims = _claims_of(token)
    expires, issued = _time_of(claims, "exp"), _time_of(claims, "iat")
    not_before = _time_of(claims, "nbf") if "nbf" in claims else now_s
    is_current = not_before <= now_s < expires
    if not is_current or not now_s - _MAX_AGE_S <= issued <= now_s:
        raise ServiceError("AccessDeniedException", "Invalid or Expired Token")


def _claims_of(token: str) -> dict[str, Any]:
    parts = token.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("a JWT in compact form has three parts (RFC 7515 3.1)")
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, binascii.Error) as error:
        raise ServiceError("AccessDeniedException", "Invalid or Expired Token") from error
    return claims if isinstance(claims, dict) else {}


def _time_of(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ServiceError("AccessDeniedException", "Invalid or Expired Token")
    return float(value)
