"""Which IAM role a reader's operation is performed with at HealthImaging."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from teleprefetch.domain.tokens.claims import Identity

ANYBODY: Final = "*"
OPERATION_CLASSES: Final = {
    "SearchDICOMStudies": "search",
    "SearchDICOMSeries": "search",
    "SearchDICOMInstances": "search",
    "SearchDICOMStudyInstances": "search",
    "SearchDICOMAllSeries": "search",
    "SearchDICOMAllInstances": "search",
    "GetDICOMSeriesMetadata": "metadata",
    "GetDICOMInstanceMetadata": "metadata",
    "GetDICOMInstanceFrames": "frames",
    "GetDICOMInstance": "frames",
    "GetDICOMBulkdata": "frames",
    "StoreDICOM": "store",
    "StoreDICOMStudy": "store",
}
"""HealthImaging's DICOMweb operations by what a reader does with them (developer guide, "Using
DICOMweb with AWS HealthImaging")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """Whom a role is for.

    `groups` with ANYBODY in it asks for no group. `issuers` and `scopes` that are empty ask for
    nothing; else the token is of one of the issuers and has all the scopes.
    """

    role_arn: str
    operations: frozenset[str]
    groups: frozenset[str]
    issuers: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    def covers(self, operation_class: str, identity: Identity) -> bool:
        """Whether the role is for operations of that class, asked by that reader."""
        return (
            operation_class in self.operations
            and (ANYBODY in self.groups or bool(self.groups & identity.groups))
            and (not self.issuers or identity.issuer in self.issuers)
            and self.scopes <= identity.scopes
        )


def role_for(rules: Iterable[RoleRule], operation: str, identity: Identity) -> str | None:
    """The role of the first rule that covers the operation; None if no rule does."""
    operation_class = OPERATION_CLASSES.get(operation)
    if operation_class is None:
        return None
    for rule in rules:
        if rule.covers(operation_class, identity):
            return rule.role_arn
    return None
