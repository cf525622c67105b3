"""Strict models of what exports must look like, written from the standards and not from our code.

DICOM: PS3.15 2025e A.5.1.1 (the RELAX NG schema as a table: attributes, and children in order).
FHIR: R4 AuditEvent, closed, with its invariant sev-1 and the slices of IHE BALP 1.1.
"""

import base64
import re
from typing import Annotated, Any, Literal
from xml.etree import ElementTree as ET

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

CODED = {"csd-code": r".+", "codeSystemName": r".+", "originalText": r".+", "displayName?": r".*"}
BASE64 = r"[A-Za-z0-9+/]*={0,2}"
# element: (attributes: pattern, children in order: how many at least and at most)
DICOM: dict[str, tuple[dict[str, str], list[tuple[str, int, int]]]] = {
    "AuditMessage": (
        {},
        [
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, 99),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, 99),
        ],
    ),
    "EventIdentification": (
        {
            "EventActionCode?": "[CRUDE]",
            "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
            "EventOutcomeIndicator": "0|4|8|12",
        },
        [("EventID", 1, 1), ("EventTypeCode", 0, 9), ("EventOutcomeDescription", 0, 1)],
    ),
    "EventID": (CODED, []),
    "EventTypeCode": (CODED, []),
    "EventOutcomeDescription": ({}, []),
    "ActiveParticipant": (
        {
            "UserID": ".+",
            "AlternativeUserID?": ".*",
            "UserName?": ".*",
            "UserIsRequestor": "true|false",
            "NetworkAccessPointID?": ".+",
            "NetworkAccessPointTypeCode?": "[1-5]",
        },
        [("RoleIDCode", 0, 9)],
    ),
    "RoleIDCode": (CODED, []),
    "AuditSourceIdentification": (
        {"AuditEnterpriseSiteID?": ".+", "AuditSourceID": ".+"},
        [("AuditSourceTypeCode", 0, 9)],
    ),
    "AuditSourceTypeCode": ({"csd-code": "[1-9]"}, []),
    "ParticipantObjectIdentification": (
        {
            "ParticipantObjectID": ".+",
            "ParticipantObjectTypeCode?": "[1-4]",
            "ParticipantObjectTypeCodeRole?": r"1?\d|2[0-6]",
            "ParticipantObjectDataLifeCycle?": r"[1-9]|1[0-5]",
            "ParticipantObjectSensitivity?": ".*",
        },
        [
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, 99),
            ("ParticipantObjectDescription", 0, 9),
        ],
    ),
    "ParticipantObjectIDTypeCode": (CODED, []),
    "ParticipantObjectName": ({}, []),
    "ParticipantObjectQuery": ({}, []),
    "ParticipantObjectDetail": ({"type": ".+", "value": BASE64}, []),
    "ParticipantObjectDescription": ({}, [("ParticipantObjectContainsStudy", 0, 1)]),
    "ParticipantObjectContainsStudy": ({}, [("StudyIDs", 0, 99)]),
    "StudyIDs": ({"UID": r"[0-9.]+"}, []),
}


def check_dicom(text: str) -> ET.Element:
    """The message; AssertionError if the schema of PS3.15 A.5.1.1 does not allow it."""
    message = ET.fromstring(text)  # noqa: S314  # our own output
    assert message.tag == "AuditMessage"
    _check(message)
    for found in message.iter("ParticipantObjectIdentification"):
        named = [child.tag for child in found]
        assert ("ParticipantObjectName" in named) != ("ParticipantObjectQuery" in named)
    for query in message.iter("ParticipantObjectQuery"):
        base64.b64decode(query.text or "", validate=True)
    return message


def _check(element: ET.Element) -> None:
    attributes, children = DICOM[element.tag]
    known = {name.rstrip("?"): pattern for name, pattern in attributes.items()}
    assert set(element.attrib) <= set(known), f"{element.tag}: {element.attrib}"
    assert {name for name in attributes if not name.endswith("?")} <= set(element.attrib)
    for name, value in element.attrib.items():
        assert re.fullmatch(known[name], value), f"{element.tag}/{name}={value}"
    order = [name for name, _, _ in children]
    tags = [child.tag for child in element]
    assert sorted(tags, key=order.index) == tags, f"{element.tag}: {tags}"
    for name, least, most in children:
        assert least <= tags.count(name) <= most, f"{element.tag}: {name}"
    for child in element:
        _check(child)


def participants(message: ET.Element, role: str) -> list[ET.Element]:
    """The active participants with a role, by its code."""
    return [
        found
        for found in message.iter("ActiveParticipant")
        if role in {code.get("csd-code") for code in found.iter("RoleIDCode")}
    ]


def objects(message: ET.Element, kind: str, role: str, id_type: str) -> list[ET.Element]:
    """The participant objects of a type, a role and an id type."""
    return [
        found
        for found in message.iter("ParticipantObjectIdentification")
        if found.get("ParticipantObjectTypeCode") == kind
        and found.get("ParticipantObjectTypeCodeRole") == role
        and found[0].get("csd-code") == id_type
    ]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Uri = Annotated[str, StringConstraints(pattern=r"^(https?://|urn:)\S+$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Coding(Closed):
    system: Uri
    code: Annotated[str, StringConstraints(pattern=r"^\S+$")]
    display: Text | None = None


class Concept(Closed):
    coding: list[Coding] = Field(min_length=1)


class Identifier(Closed):
    system: Uri | None = None
    value: Text


class Reference(Closed):
    type: Literal["Patient", "Device"] | None = None
    identifier: Identifier
    display: Text | None = None


class Network(Closed):
    address: Text
    type: Literal["1", "2", "5"]


class Agent(Closed):
    type: Concept
    who: Reference
    requestor: bool
    policy: list[Uri] | None = None
    network: Network | None = None


class Source(Closed):
    site: Text | None = None
    observer: Reference
    type: list[Coding]


class Detail(Closed):
    type: Text
    valueString: Text  # noqa: N815  # FHIR's name


class Entity(Closed):
    what: Reference
    type: Coding
    role: Coding | None = None
    name: Text | None = None
    query: Annotated[str, StringConstraints(pattern=f"^{BASE64}$")] | None = None
    detail: list[Detail] | None = None

    @model_validator(mode="after")
    def _sev_1(self) -> "Entity":
        assert self.name is None or self.query is None, "sev-1: either a name or a query"
        return self


class Meta(Closed):
    profile: list[Uri]


class AuditEvent(Closed):
    resourceType: Literal["AuditEvent"]  # noqa: N815  # FHIR's name
    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
    meta: Meta | None = None
    type: Coding
    subtype: list[Coding]
    action: Literal["C", "R", "U", "D", "E"]
    recorded: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")]
    outcome: Literal["0", "4", "8", "12"]
    outcomeDesc: Text | None = None  # noqa: N815  # FHIR's name
    purposeOfEvent: list[Concept] | None = None  # noqa: N815  # FHIR's name
    agent: list[Agent] = Field(min_length=1)
    source: Source
    entity: list[Entity]

    def agents(self, code: str) -> list[Agent]:
        """Those of a type."""
        return [each for each in self.agent if each.type.coding[0].code == code]

    def entities(self, code: str) -> list[Entity]:
        """Those of a type."""
        return [each for each in self.entity if each.type.code == code]


def check_fhir(document: dict[str, Any]) -> AuditEvent:
    """The AuditEvent; ValidationError if R4 does not allow it."""
    return AuditEvent.model_validate(document)
