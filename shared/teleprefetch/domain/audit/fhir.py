"""Records as FHIR R4 AuditEvents, in the shape of IHE's Basic Audit Log Patterns.

Source: IHE ITI BALP 1.1: `PatientRead`, `PatientQuery`, `AuthZ`, `OAUTHaccessTokenUse`.
"""

import base64
import uuid
from collections.abc import Mapping
from typing import Any, Final

from teleprefetch.domain.audit import codes
from teleprefetch.domain.audit.codes import Code
from teleprefetch.domain.audit.entry import Entry, stamp
from teleprefetch.domain.audit.record import SERVING, AuditRecord

Json = dict[str, Any]
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS: Final = "http://terminology.hl7.org/CodeSystem/"
_BALP: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_BALP_ENTITY: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
_JTI: Final = "urn:ietf:params:oauth:jti:"
_REST: Final = {"code": "rest", "display": "Restful Operation"}
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:teleprefetch:audit")
_FURTHER: Final = (
    "action", "series", "instance", "frames", "image_set", "version", "content", "source",
    "origin", "order", "assignment", "policy_set",
)  # fmt: skip


def audit_event(entry: Entry, *, patient_ids: Mapping[str, str] | None = None) -> Json:
    """The AuditEvent of an entry; its id is made of the record's hash, so it is always the same.

    Args:
        entry: the record.
        patient_ids: the patient of each study, by StudyInstanceUID, for the patient's identifier.
    """
    event = entry.event
    kind, subtypes, profile = _kind(event)
    document: Json = {
        "resourceType": "AuditEvent",
        "id": str(uuid.uuid5(_NAMESPACE, entry.hash)),
        "type": kind,
        "subtype": subtypes,
        "action": codes.named(event).action,
        "recorded": stamp(entry.at),
        "outcome": codes.outcome(event),
        "agent": _agents(entry),
        "source": {
            "observer": _device(entry.node),
            "type": [_coding(_TERMS + "security-source-type", "4", "Application Server")],
        },
        "entity": _entities(entry, patient_ids or {}),
    }
    if profile:
        document["meta"] = {"profile": [_BALP + profile]}
    if event.site:
        document["source"]["site"] = event.site
    if event.reason:
        document["outcomeDesc"] = event.reason
    if event.kind == "break-glass":
        document["purposeOfEvent"] = [
            {"coding": [_coding(_TERMS + "v3-ActReason", "BTG", "break the glass")]}
        ]
    return document


def _kind(event: AuditRecord) -> tuple[Json, list[Json], str]:
    if event.kind in SERVING:
        interaction = "search" if codes.is_query(event) else "read"
        rest = {"system": _TERMS + "audit-event-type", **_REST}
        restful = _coding("http://hl7.org/fhir/restful-interaction", interaction, interaction)
        subtypes = [restful]
        if event.kind == "break-glass":
            subtypes.append(_dcm(codes.EMERGENCY_OVERRIDE))
        # a search over many studies names no patient, which PatientQuery wants
        profile = "PatientRead" if interaction == "read" else "PatientQuery"
        return rest, subtypes, profile if event.study else "Query"
    name = codes.named(event)
    return _dcm(name.event), [_dcm(name.type)] if name.type is not None else [], ""


def _agents(entry: Entry) -> list[Json]:
    event = entry.event
    if event.kind not in SERVING:
        agents = [_process(entry.node, codes.APPLICATION, requestor=not event.subject)]
        return [*agents, *_person(event, named_by=event.client)]
    server, client = codes.SOURCE, codes.DESTINATION
    if codes.is_query(event):  # BALP's Query: the client is the source
        server, client = client, server
    asker = _process(event.client or "unknown", client, requestor=not event.subject)
    if event.client:
        asker["network"] = {"address": event.client, "type": "2"}
    answerer = _process(entry.node, server)
    answerer["network"] = {"address": entry.node, "type": "1"}
    return [asker, answerer, *_person(event, named_by="")]


def _person(event: AuditRecord, *, named_by: str) -> list[Json]:
    if not event.subject:
        return []
    recipient = _coding(_TERMS + "v3-ParticipationType", "IRCP", "information recipient")
    person: Json = {
        "type": {"coding": [recipient]},
        "who": {"identifier": {"system": event.issuer or "urn:unknown", "value": event.subject}},
        "requestor": True,
    }
    if event.token:
        scheme, _, value = event.token.partition(":")
        prefix = _JTI if scheme == "jti" else "urn:teleprefetch:token:sha256:"
        person["policy"] = [prefix + value, *(f"urn:teleprefetch:{p}" for p in event.policies)]
    if named_by:
        person["network"] = {"address": named_by, "type": "2"}
    return [person]


def _process(name: str, role: Code, *, requestor: bool = False) -> Json:
    return {"type": {"coding": [_dcm(role)]}, "who": _device(name), "requestor": requestor}


def _device(name: str) -> Json:
    return {"identifier": {"value": name}, "display": name}


def _entities(entry: Entry, patient_ids: Mapping[str, str]) -> list[Json]:
    event = entry.event
    role = ("24", "Query") if codes.is_query(event) else ("3", "Report")
    if event.kind not in SERVING:
        role = ("13", "Security Resource")
    about = f"urn:oid:{event.study}" if event.study else f"urn:teleprefetch:{event.kind}"
    data: Json = {
        "what": {"identifier": {"system": "urn:dicom:uid", "value": about}},
        "type": _coding(_TERMS + "audit-entity-type", "2", "System Object"),
        "role": _coding(_TERMS + "object-role", *role),
        "detail": _details(entry),
    }
    if event.kind in SERVING and codes.is_query(event):
        data["query"] = base64.b64encode((event.study or "studies").encode()).decode()
    entities = [data]
    patient = patient_ids.get(event.study) or event.patient
    if event.study and event.kind in SERVING | {"warmed", "purged"}:
        entities.append(_patient(patient or "unknown"))
    if event.request:
        transaction: Json = {
            "what": {"identifier": {"value": event.request}},
            "type": {"system": _BALP_ENTITY, "code": "XrequestId"},
        }
        entities.append(transaction)
    return entities


def _patient(patient: str) -> Json:
    return {
        "what": {"type": "Patient", "identifier": {"value": patient}},
        "type": _coding(_TERMS + "audit-entity-type", "1", "Person"),
        "role": _coding(_TERMS + "object-role", "1", "Patient"),
    }


def _details(entry: Entry) -> list[Json]:
    event = entry.event
    pairs = [(name, str(value)) for name in _FURTHER if (value := getattr(event, name))]
    pairs += [("policy", rule) for rule in event.policies]
    pairs += [(key, str(value)) for key, value in sorted(event.detail.items())]
    pairs.append(("record", f"{entry.node}/{entry.lane}/{entry.seq} {entry.hash}"))
    return [{"type": name, "valueString": value} for name, value in pairs]


def _dcm(code: Code) -> Json:
    return _coding(_DCM, code.value, code.meaning)


def _coding(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display}
