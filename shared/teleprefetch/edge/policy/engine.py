"""Evaluates Cedar policies, parsed once, for principals and resources of ours."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

import cedarpy
import orjson

from teleprefetch.domain.policy.access import (
    Action,
    Circumstances,
    Decision,
    NodeStatus,
    Principal,
    Resource,
    StudyAccess,
)
from teleprefetch.edge.policy.files import PolicyFiles

Entity = dict[str, Any]


class CedarPolicies:
    """The policies of a node.

    Args:
        files: what `read_policies` gave.
    """

    def __init__(self, files: PolicyFiles) -> None:
        self.version: Final = files.version
        self.names: Final = files.names
        self._policies = files.policies
        self._schema = files.schema

    def decide(
        self, principal: Principal, action: Action, resource: Resource, at: Circumstances
    ) -> Decision:
        """Whether the principal may do this; a policy that fails to evaluate refuses everything."""
        return self.decide_all(principal, action, (resource,), at)[0]

    def decide_all(
        self,
        principal: Principal,
        action: Action,
        resources: Sequence[Resource],
        at: Circumstances,
    ) -> tuple[Decision, ...]:
        """The decisions about several resources, in order.

        Each is evaluated with its own entities: one study may be there for several locations.
        """
        who = _entities_of(principal)
        requests: list[dict[str, Any]] = [
            {
                "principal": {"type": "Person", "id": principal.name},
                "action": {"type": "Action", "id": action},
                "resource": {"type": _type(resource), "id": str(index)},
                "context": _context(at),
            }
            for index, resource in enumerate(resources)
        ]
        what = [_entity_of(resource, index) for index, resource in enumerate(resources)]
        entities = orjson.dumps(_with_referred([*who, *what])).decode()
        results = cedarpy.is_authorized_batch(requests, self._policies, entities, self._schema)
        return tuple(_decision(result) for result in results)


def _decision(result: cedarpy.AuthzResult) -> Decision:
    names = result.diagnostics.id_annotations_by_reason
    problems = tuple(result.diagnostics.errors)
    return Decision(
        # Cedar passes over a policy that fails, and it may have been a `forbid`
        is_allowed=result.allowed and not problems,
        policies=tuple(sorted(names.get(reason, reason) for reason in result.diagnostics.reasons)),
        problems=problems,
    )


def _entities_of(principal: Principal) -> list[Entity]:
    groups = [_uid("Group", name) for name in principal.group_names]
    roles = [_uid("Role", role) for role in sorted(principal.roles)]
    attributes = {"issuer": principal.issuer, "subject": principal.subject}
    if principal.site is not None:
        attributes["site"] = principal.site
    return [
        {
            "uid": _uid("Person", principal.name),
            "attrs": attributes,
            "parents": [*groups, *roles],
        }
    ]


def _entity_of(resource: Resource, index: int) -> Entity:
    uid = _uid(_type(resource), str(index))
    if isinstance(resource, NodeStatus):
        return {"uid": uid, "attrs": {"name": resource.node}, "parents": []}
    attributes: dict[str, Any] = {
        "studyInstanceUID": resource.study_instance_uid,
        "location": resource.location,
        "assignedTo": _references("Person", resource.assigned_to),
        "assignedToGroups": _references("Group", resource.assigned_to_groups),
        "priorFor": _references("Person", resource.prior_for),
        "priorForGroups": _references("Group", resource.prior_for_groups),
    }
    if resource.origin_id:
        attributes["origin"] = resource.origin_id
    if resource.patient:
        attributes["patient"] = resource.patient
    return {"uid": uid, "attrs": attributes, "parents": []}


def _with_referred(entities: list[Entity]) -> list[Entity]:
    """The entities, and those they name as parents, which must exist as well."""
    parents = {(one["type"], one["id"]) for entity in entities for one in entity["parents"]}
    return [
        *entities,
        *({"uid": _uid(kind, name), "attrs": {}, "parents": []} for kind, name in sorted(parents)),
    ]


def _context(at: Circumstances) -> str:
    moment = at.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    context: dict[str, Any] = {
        "now": {"__extn": {"fn": "datetime", "arg": moment}},
        "network": {"__extn": {"fn": "ip", "arg": at.network}},
    }
    if at.break_glass:
        context["breakGlass"] = at.break_glass
    return orjson.dumps(context).decode()


def _type(resource: Resource) -> str:
    return "Study" if isinstance(resource, StudyAccess) else "Node"


def _references(kind: str, names: frozenset[str]) -> list[dict[str, Any]]:
    return [{"__entity": _uid(kind, name)} for name in sorted(names)]


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}
