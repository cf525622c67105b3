"""What a HealthImaging data store asks its authorizer, and what it is told.

Source: HealthImaging developer guide, "Using a Lambda authorizer for DICOMweb APIs".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from teleprefetch.domain.tokens.roles import ANYBODY, RoleRule, role_for
from teleprefetch.domain.tokens.verifier import Verifier


class Answer(TypedDict):
    """Exactly what HealthImaging wants; anything else is a 424 to the reader."""

    isTokenValid: bool
    roleArn: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer, and what it rests on in words that may be logged."""

    answer: Answer
    why: str


INVALID: Final[Answer] = {"isTokenValid": False, "roleArn": ""}
"""The reader gets 403, "Invalid or Expired Token"."""
DENIED: Final[Answer] = {"isTokenValid": True, "roleArn": ""}
"""The reader gets 403, "Access Denied"."""


class Authorizer:
    """Answers for one data store, or for any of the account with ANYBODY as its id."""

    def __init__(self, *, verifier: Verifier, roles: Sequence[RoleRule], datastore_id: str) -> None:
        self._verifier = verifier
        self._roles = tuple(roles)
        self._datastore_id = datastore_id

    def rule(self, event: Any, *, now_s: float, wait_s: float) -> Ruling:
        """The ruling on a request; `now_s` and `wait_s` are as for `Verifier.verify`."""
        asked = _texts(event)
        if asked is None:
            return Ruling(INVALID, "event: not what HealthImaging sends")
        datastore_id, operation, token = asked
        verdict = self._verifier.verify(token, now_s=now_s, wait_s=wait_s)
        if verdict.identity is None:
            return Ruling(INVALID, verdict.reason.value if verdict.reason else "refused")
        if self._datastore_id not in (ANYBODY, datastore_id):
            return Ruling(DENIED, "another data store")
        role_arn = role_for(self._roles, operation, verdict.identity)
        if role_arn is None:
            return Ruling(DENIED, "no role for the operation and the reader's groups")
        return Ruling({"isTokenValid": True, "roleArn": role_arn}, "accepted")


def _texts(event: Any) -> tuple[str, str, str] | None:
    if not isinstance(event, Mapping):
        return None
    datastore_id = event.get("datastoreId")
    operation = event.get("operation")
    token = event.get("bearerToken")
    if isinstance(datastore_id, str) and isinstance(operation, str) and isinstance(token, str):
        return datastore_id, operation, token
    return None
