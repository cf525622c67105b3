"""Assignments out of what radiology information systems send: HL7 v2 orders and FHIR requests.

    Study Assigned        HL7 v2 (ORM, OMI, OMG, ORU)              FHIR R4 (Task, ServiceRequest)
    assignment_id         ORC-2.1, OBR-2.1, ORC-3.1 or OBR-3.1     id, else the first identifier
    study_instance_uid    ZDS-1.1, IPC-3.1, OBX-5 of OBX-3 113014  identifier of urn:dicom:uid
    priority              TQ1-9.1, OBR-27.6 or ORC-7.6             priority
    deadline_at           -                                        Task.restriction.period.end
    assigned_to.subject   OBR-32.1.1                               owner's or performer's identifier

S is stat, A high, R routine; FHIR's asap and urgent are high. What a message does not say - the
archive, the reading location, who issues readers' tokens - the site says (`OrderDefaults`). An id
that is no name is replaced by its digest.

Sources: HL7 v2.5.1 chapters 2, 4 and 7; IHE Radiology Technical Framework 2, RAD-4 (ZDS); DICOM
PS3.16 Annex D (113014); FHIR R4, "ImagingStudy" (the Study Instance UID is an identifier of the
system urn:dicom:uid, its value begins with urn:oid:), "Task" and "ServiceRequest".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from teleprefetch.assignment import StudyAssigned
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import OriginId, Priority, Slug, Value
from teleprefetch.prefetch import digest_of

_SLUG: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HL7_PRIORITIES: Final[dict[str, Priority]] = {"S": "stat", "A": "high", "R": "routine"}
_FHIR_PRIORITIES: Final[dict[str, Priority]] = {
    "stat": "stat", "asap": "high", "urgent": "high", "routine": "routine",
}  # fmt: skip
_RESOURCES: Final = frozenset({"Task", "ServiceRequest"})
_CANCELLED: Final = frozenset({"CA", "DC", "OC", "OD"})
_OPEN: Final = frozenset({"requested", "received", "accepted", "ready", "in-progress", "active"})
_STUDY_CODE: Final = "113014"  # "Study", DICOM PS3.16 Annex D
_MOST_CHARACTERS: Final = 1_000_000


class OrderDefaults(Value):
    """What a site adds to an order: its archive and reading location, and its readers' issuer."""

    origin_id: OriginId
    reading_location: Slug
    issuer: str | None = None


def from_hl7(message: str, defaults: OrderDefaults) -> StudyAssigned:
    """The assignment that an HL7 v2 order makes.

    Raises:
        InvalidPayloadError: it is no HL7 message, cancels its order, or lacks an id or the study;
            names the field, never its content.
    """
    hl7 = _Hl7(message)
    if hl7.first("ORC-1.1") in _CANCELLED:
        raise InvalidPayloadError("ORC-1: a cancellation assigns nothing")
    order_id = hl7.first("ORC-2.1", "OBR-2.1", "ORC-3.1", "OBR-3.1")
    uid = hl7.first("ZDS-1.1", "IPC-3.1") or hl7.observed(_STUDY_CODE)
    return _assigned(
        order_id=_needed(order_id, "ORC-2, OBR-2, ORC-3, OBR-3"),
        uid=_needed(uid, "ZDS-1, IPC-3, OBX-5"),
        priority=_HL7_PRIORITIES.get(hl7.first("TQ1-9.1", "OBR-27.6", "ORC-7.6")[:1]),
        subject=hl7.first("OBR-32.1").split("&")[0],
        deadline_at=None,
        defaults=defaults,
    )


def from_fhir(resource: object, defaults: OrderDefaults) -> StudyAssigned:
    """The assignment that a FHIR R4 Task or ServiceRequest makes.

    The study is an identifier of the resource, of Task.focus, or of supportingInfo or basedOn.

    Raises:
        InvalidPayloadError: it is another resource, not open, or lacks an id or the study; names
            the element, never its content.
    """
    if not isinstance(resource, Mapping) or _text(resource, "resourceType") not in _RESOURCES:
        raise InvalidPayloadError("resourceType: neither Task nor ServiceRequest")
    if _text(resource, "status") not in _OPEN:
        raise InvalidPayloadError("status: not one of an open request")
    identifiers = list(_identifiers(resource))
    uids = [value for system, value in identifiers if system == "urn:dicom:uid"]
    others = [value for system, value in identifiers if system != "urn:dicom:uid"]
    order_id = _text(resource, "id") or next(iter(others), "")
    return _assigned(
        order_id=_needed(order_id, "id, identifier"),
        uid=_needed(next(iter(uids), ""), "identifier of urn:dicom:uid").removeprefix("urn:oid:"),
        priority=_FHIR_PRIORITIES.get(_text(resource, "priority")),
        subject=_performer(resource),
        deadline_at=_text(resource, "restriction", "period", "end") or None,
        defaults=defaults,
    )


def _assigned(
    *,
    order_id: str,
    uid: str,
    priority: Priority | None,
    subject: str,
    deadline_at: str | None,
    defaults: OrderDefaults,
) -> StudyAssigned:
    reader = {"issuer": defaults.issuer, "subject": subject}
    return StudyAssigned.parse(
        {
            "schema_version": "1",
            "assignment_id": order_id if _SLUG.fullmatch(order_id) else digest_of(order_id),
            "origin_id": defaults.origin_id,
            "study_instance_uid": uid,
            "reading_location": defaults.reading_location,
            "priority": priority or "high",
            "deadline_at": deadline_at,
            "assigned_to": reader if subject and defaults.issuer else None,
        },
        at="order",
    )


def _needed(text: str, where: str) -> str:
    if not text:
        raise InvalidPayloadError(f"{where}: missing")
    return text


class _Hl7:
    """Fields of a message by their names, such as OBR-27.6; a repetition's first is meant."""

    def __init__(self, message: str) -> None:
        text = message.strip("\x0b\x1c\r\n ")  # MLLP frames a message so
        if not text.startswith("MSH") or len(text) < 8 or len(text) > _MOST_CHARACTERS:
            raise InvalidPayloadError("MSH: not an HL7 v2 message")
        self._field, self._component, self._repetition = text[3], text[4], text[5]
        self._segments = [line.split(self._field) for line in re.split(r"[\r\n]+", text)]

    def first(self, *names: str) -> str:
        """The first of the named fields that says something; empty if none does."""
        for name in names:
            segment, _, place = name.partition("-")
            field, _, component = place.partition(".")
            for fields in self._of(segment):
                if text := self._part(fields, int(field), int(component)):
                    return text
        return ""

    def observed(self, code: str) -> str:
        """The value of the first observation of a code."""
        for fields in self._of("OBX"):
            if self._part(fields, 3, 1) == code:
                return self._part(fields, 5, 1)
        return ""

    def _of(self, segment: str) -> Iterator[list[str]]:
        return (fields for fields in self._segments if fields[0] == segment)

    def _part(self, fields: list[str], field: int, component: int) -> str:
        text = fields[field] if field < len(fields) else ""
        parts = text.split(self._repetition)[0].split(self._component)
        return parts[component - 1].strip() if component <= len(parts) else ""


def _identifiers(resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    about = [resource.get("focus"), *_list(resource, "supportingInfo"), *_list(resource, "basedOn")]
    referred = [one.get("identifier") for one in about if isinstance(one, Mapping)]
    for identifier in (*_list(resource, "identifier"), *referred):
        if isinstance(identifier, Mapping) and _text(identifier, "value"):
            yield _text(identifier, "system"), _text(identifier, "value")


def _performer(resource: Mapping[str, Any]) -> str:
    people: Iterable[Any] = (resource.get("owner"), *_list(resource, "performer"))
    subjects = (_text(one, "identifier", "value") for one in people if isinstance(one, Mapping))
    return next((subject for subject in subjects if subject), "")


def _list(resource: Mapping[str, Any], name: str) -> list[Any]:
    value = resource.get(name)
    return value if isinstance(value, list) else []


def _text(document: Any, *path: str) -> str:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document.strip() if isinstance(document, str) else ""
