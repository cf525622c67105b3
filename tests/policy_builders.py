"""Makes principals and readings for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from teleprefetch.domain.policy.access import Principal
from teleprefetch.domain.policy.readings import AssignedTo, Reading

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ISSUER = "https://idp.example"
STUDY, PRIOR, ANOTHER = "1.2.840.1", "1.2.840.2", "1.2.840.3"


def a_principal(**changes: Any) -> Principal:
    fields: dict[str, Any] = {
        "issuer": ISSUER, "subject": "reader-1", "site": "home",
        "groups": frozenset({"thoracic"}), "roles": frozenset({"reader"}), "token_id": "t-1",
        "token_sha256": "d" * 64, "ends_at_s": (NOW + timedelta(hours=1)).timestamp(),
    }  # fmt: skip
    return Principal(**fields | changes)


def a_reading(**changes: Any) -> Reading:
    fields: dict[str, Any] = {
        "assignment_id": "A-1", "prefetch_id": "assigned-1", "origin_id": "store-1",
        "reading_location": "home", "study_instance_uid": STUDY, "priors": (PRIOR,),
        "assigned_to": AssignedTo(issuer=ISSUER, subject="reader-1"), "patient": "c" * 40,
        "ends_at": NOW + timedelta(days=1),
    }  # fmt: skip
    return Reading(**fields | changes)
