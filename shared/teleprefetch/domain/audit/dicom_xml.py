"""Records as DICOM audit messages (PS3.15 2025e A.5): one XML document for each record."""

import base64
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as ET

from teleprefetch.domain.audit import codes
from teleprefetch.domain.audit.codes import Code
from teleprefetch.domain.audit.entry import Entry, stamp
from teleprefetch.domain.audit.record import AuditRecord

UNKNOWN_PATIENT: Final = "unknown"
_OF_A_PATIENT: Final = frozenset(
    {codes.INSTANCES_ACCESSED, codes.INSTANCES_TRANSFERRED, codes.STUDY_DELETED}
)
_FURTHER: Final = (
    "action", "series", "instance", "frames", "image_set", "version", "content", "source",
    "origin", "token", "order", "assignment", "request", "reason", "policy_set",
)  # fmt: skip


def audit_message(entry: Entry, *, patient_ids: Mapping[str, str] | None = None) -> str:
    """The audit message of an entry.

    A message about studies needs a patient. The audit holds a digest of the patient at most, so
    that identifiers come from whoever exports.

    Args:
        entry: the record.
        patient_ids: the patient of each study, by StudyInstanceUID.
    """
    event = entry.event
    name = codes.named(event)
    message = ET.Element("AuditMessage")
    _identification(message, entry)
    _participants(message, entry)
    source = ET.SubElement(message, "AuditSourceIdentification", AuditSourceID=entry.node)
    if event.site:
        source.set("AuditEnterpriseSiteID", event.site)
    # PS3.15 A.5.1.2.1: 4 is an application server process
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    if name.event in _OF_A_PATIENT:
        patient = (patient_ids or {}).get(event.study) or event.patient or UNKNOWN_PATIENT
        _study(message, entry)
        _object(message, "1", "1", Code("2", "Patient Number"), patient, system="RFC-3881")
    elif name.event == codes.QUERY:
        _query(message, entry)
    elif name.event == codes.AUDIT_LOG_USED:
        uri = f"urn:teleprefetch:audit:{entry.node}"
        log = _object(message, "2", "13", Code("12", "URI"), uri, system="RFC-3881")
        _name(log, "Security Audit Log")
    elif name.event == codes.SECURITY_ALERT:
        _alert(message, entry)
    return ET.tostring(message, encoding="unicode", xml_declaration=False)


def _identification(message: ET.Element, entry: Entry) -> None:
    name = codes.named(entry.event)
    identification = ET.SubElement(
        message,
        "EventIdentification",
        EventActionCode=name.action,
        EventDateTime=stamp(entry.at),
        EventOutcomeIndicator=codes.outcome(entry.event),
    )
    _coded(identification, "EventID", name.event)
    if name.type is not None:
        _coded(identification, "EventTypeCode", name.type)
    if entry.event.reason:
        ET.SubElement(identification, "EventOutcomeDescription").text = _printable(
            entry.event.reason
        )


def _participants(message: ET.Element, entry: Entry) -> None:
    event = entry.event
    kind = codes.named(event).event
    if kind in {codes.INSTANCES_TRANSFERRED, codes.QUERY}:
        # the process that issues a query is the source of it (A.5.3.10), of a transfer the sender
        node, client = codes.SOURCE, codes.DESTINATION
        if kind == codes.QUERY:
            node, client = client, node
        _participant(message, entry.node, role=node)
        _participant(message, event.client or "unknown", role=client, client=event.client)
        _person(message, event)
        return
    if kind == codes.APPLICATION_ACTIVITY:
        _participant(message, entry.node, role=codes.APPLICATION)
        return
    _participant(message, entry.node, requests=not event.subject)
    _person(message, event)


def _person(message: ET.Element, event: AuditRecord) -> None:
    if event.subject:
        _participant(
            message, event.subject, requests=True, client=event.client, issuer=event.issuer
        )


def _participant(
    message: ET.Element,
    user_id: str,
    *,
    requests: bool = False,
    role: Code | None = None,
    client: str = "",
    issuer: str = "",
) -> None:
    said = {"UserID": _printable(user_id), "UserIsRequestor": "true" if requests else "false"}
    if issuer:
        said["AlternativeUserID"] = _printable(issuer)
    if client:
        said |= {"NetworkAccessPointID": client, "NetworkAccessPointTypeCode": "2"}
    participant = ET.SubElement(message, "ActiveParticipant", said)
    if role is not None:
        _coded(participant, "RoleIDCode", role)


def _study(message: ET.Element, entry: Entry) -> None:
    study = _object(message, "2", "3", codes.STUDY_INSTANCE_UID, entry.event.study or "unknown")
    _name(study, "study")
    _details(study, entry)
    description = ET.SubElement(study, "ParticipantObjectDescription")
    contains = ET.SubElement(description, "ParticipantObjectContainsStudy")
    if entry.event.study:
        ET.SubElement(contains, "StudyIDs", UID=entry.event.study)


def _query(message: ET.Element, entry: Entry) -> None:
    # QIDO-RS has no SOP class; the one of the same query in DIMSE names it: Study Root FIND
    asked = _object(message, "2", "3", codes.SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.2.2.1")
    query = entry.event.study or "studies"
    ET.SubElement(asked, "ParticipantObjectQuery").text = _base64(query)
    _details(asked, entry)


def _alert(message: ET.Element, entry: Entry) -> None:
    event = entry.event
    id_type, subject = (
        (codes.STUDY_INSTANCE_UID, event.study) if event.study else (codes.NODE_ID, entry.node)
    )
    alert = _object(message, "2", "13", id_type, subject)
    _name(alert, event.kind)
    _pair(alert, "Alert Description", event.reason or event.kind)
    _details(alert, entry)


def _object(
    message: ET.Element, kind: str, role: str, id_type: Code, object_id: str, *, system: str = "DCM"
) -> ET.Element:
    made = ET.SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_printable(object_id),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(made, "ParticipantObjectIDTypeCode", id_type, system=system)
    if role == "1":
        _name(made, "patient")  # the schema wants a name or a query; a name is what we never have
    return made


def _name(parent: ET.Element, text: str) -> None:
    ET.SubElement(parent, "ParticipantObjectName").text = text


def _details(parent: ET.Element, entry: Entry) -> None:
    for field in _FURTHER:
        if value := getattr(entry.event, field):
            _pair(parent, field, str(value))
    for rule in entry.event.policies:
        _pair(parent, "policy", rule)
    for key, value in sorted(entry.event.detail.items()):
        _pair(parent, key, str(value))
    _pair(parent, "record", f"{entry.node}/{entry.lane}/{entry.seq} {entry.hash}")


def _pair(parent: ET.Element, name: str, value: str) -> None:
    ET.SubElement(parent, "ParticipantObjectDetail", type=name, value=_base64(value))


def _coded(parent: ET.Element, tag: str, code: Code, *, system: str = "DCM") -> None:
    said = {"csd-code": code.value, "codeSystemName": system, "originalText": code.meaning}
    ET.SubElement(parent, tag, said)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _printable(text: str) -> str:
    """The text without what XML 1.0 cannot hold; it came from a token or a request."""
    return "".join(c if c.isprintable() else "?" for c in text)
