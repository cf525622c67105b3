"""HealthImaging's authorizer: a data store asks it of each bearer token on DICOMweb.

Source: HealthImaging developer guide, "Using a Lambda authorizer for DICOMweb APIs": one second
for everything. Raising is a 424 to the reader and refusing a 403, so nothing is raised here, not
even by an import: what the verdict needs is loaded beside the handler, on a thread that the
handler waits for no longer than its budget.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from teleprefetch.domain.tokens.authorizing import Authorizer

_BUDGET_S: Final = 0.8
_KEYS_WAIT_S: Final = 0.25


def lambda_handler(event: Any, context: object) -> dict[str, Any]:
    """Tell whether a token is valid, and the role for the operation; empty denies."""
    ends_at = time.monotonic() + _BUDGET_S
    try:
        answer, why = _answer(event, ends_at)
    except Exception as error:  # noqa: BLE001 - it would be a 424, and this is a 403
        answer, why = _refusal(), f"failed: {type(error).__name__}"
    if time.monotonic() > ends_at:
        answer, why = _refusal(), "out of time"
    if not answer["roleArn"]:
        operation = event.get("operation") if isinstance(event, Mapping) else None
        _log("refused", operation=str(operation)[:64], why=why)
    return answer


def _answer(event: Any, ends_at: float) -> tuple[dict[str, Any], str]:
    authorizer = _LOADING.authorizer or _LOADING.wait(ends_at - time.monotonic())
    if authorizer is None:
        return _refusal(), _LOADING.failure or "not started in time"
    wait_s = min(_KEYS_WAIT_S, ends_at - time.monotonic())
    ruling = authorizer.rule(event, now_s=time.time(), wait_s=wait_s)
    return {**ruling.answer}, ruling.why


def _refusal() -> dict[str, Any]:
    return {"isTokenValid": False, "roleArn": ""}


def _log(message: str, **fields: str) -> None:
    line = json.dumps({"service": "authorizer", "message": message, **fields}) + "\n"
    # not sys.stderr: a thread that holds its lock while the process ends is a crash
    os.write(2, line.encode())


class _Loading:
    """The authorizer, made once on a thread of its own; what failed is tried again."""

    def __init__(self) -> None:
        self.authorizer: Authorizer | None = None
        self.failure = ""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wait(self, limit_s: float) -> "Authorizer | None":
        """The authorizer, if it is made within the limit; it goes on being made after it."""
        with self._lock:
            if self._thread is None or not (self._thread.is_alive() or self.authorizer):
                self._thread = threading.Thread(target=self._load, name="authorizer", daemon=True)
                self._thread.start()
        self._thread.join(max(0.0, limit_s))
        return self.authorizer

    def _load(self) -> None:
        try:
            self.authorizer = _make()
        except Exception as error:  # noqa: BLE001 - the handler tells it, as a refusal
            self.failure = f"not started: {type(error).__name__}: {error}"


def _make() -> "Authorizer":
    from teleprefetch.adapters.keys import KeyRing
    from teleprefetch.domain.tokens.authorizing import Authorizer
    from teleprefetch.domain.tokens.verifier import Verifier
    from teleprefetch.token_settings import token_settings

    settings = token_settings(os.environ)
    keys = KeyRing(
        settings.token_issuers, report=lambda issuer, news: _log("keys", issuer=issuer, why=news)
    )
    keys.warm_up()
    return Authorizer(
        verifier=Verifier(settings.token_issuers, keys),
        roles=settings.reader_roles,
        datastore_id=settings.authorizer_datastore_id,
    )


_LOADING: Final = _Loading()
if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:  # Lambda's init phase: no request waits yet
    _LOADING.wait(5)
