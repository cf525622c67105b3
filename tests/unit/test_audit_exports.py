"""Records as DICOM PS3.15 A.5 messages and FHIR R4 AuditEvents, by strict models of both."""

import base64
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

import pytest

from teleprefetch.domain.audit.dicom_xml import audit_message
from teleprefetch.domain.audit.fhir import audit_event
from teleprefetch.domain.audit.record import KINDS, AuditRecord
from tests.audit_builders import ISSUER, NODE, STUDY, a_record, an_entry
from tests.audit_schemas import AuditEvent, check_dicom, check_fhir, objects, participants

EXPECTED = {
    "served": ("110104", "R", "0"),
    "break-glass": ("110104", "R", "0"),
    "refused": ("110113", "E", "4"),
    "warmed": ("110103", "R", "0"),
    "purged": ("110105", "D", "0"),
    "replayed": ("110113", "E", "0"),
    "policy-changed": ("110113", "E", "0"),
    "policy-refused": ("110113", "E", "8"),
    "audit-read": ("110101", "R", "0"),
    "started": ("110100", "E", "0"),
    "stopped": ("110100", "E", "0"),
    "recovered": ("110113", "E", "4"),
    "audit-full": ("110113", "E", "8"),
    "gap": ("110113", "E", "8"),
}


Found = TypeVar("Found")


def the(found: Found | None) -> Found:
    """What was found; a test fails where there is nothing."""
    assert found is not None
    return found


def dicom(**changes: Any) -> Element:
    return check_dicom(audit_message(an_entry(a_record(**changes))))


def fhir(**changes: Any) -> AuditEvent:
    return check_fhir(audit_event(an_entry(a_record(**changes))))


def details(found: Element) -> dict[str, str]:
    return {
        pair.attrib["type"]: base64.b64decode(pair.attrib["value"]).decode()
        for pair in found.iter("ParticipantObjectDetail")
    }


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_is_a_valid_message_with_its_event_action_and_outcome(kind: Any) -> None:
    message = dicom(kind=kind)
    event = message[0]
    assert (
        event[0].get("csd-code"),
        event.get("EventActionCode"),
        event.get("EventOutcomeIndicator"),
    ) == EXPECTED[kind]
    assert event[0].get("codeSystemName") == "DCM"
    check_dicom(audit_message(an_entry(AuditRecord(kind=kind))))


@pytest.mark.parametrize("kind", ["served", "break-glass"])
@pytest.mark.parametrize("what", [{"action": "search"}, {"action": "status", "study": ""}])
def test_a_list_that_is_asked_for_is_a_query_and_no_transfer(kind: str, what) -> None:
    event = dicom(kind=kind, **what)[0]
    assert (event[0].get("csd-code"), event.get("EventActionCode")) == ("110112", "E")
    assert (event.find("EventTypeCode") is not None) == (kind == "break-glass")
    document = fhir(kind=kind, **what)
    assert document.subtype[0].code == "search"
    assert document.entities("2")[0].query


def test_a_served_frame_is_a_transfer_from_the_node_to_the_client_for_the_reader() -> None:
    message = dicom()  # PS3.15 A.5.3.7
    (sender,), (receiver,) = participants(message, "110153"), participants(message, "110152")
    assert sender.get("UserID") == NODE
    assert receiver.get("NetworkAccessPointID") == "10.0.0.7"
    (reader,) = [p for p in message.iter("ActiveParticipant") if p.get("UserIsRequestor") == "true"]
    assert (reader.get("UserID"), reader.get("AlternativeUserID")) == ("reader-1", ISSUER)
    (study,) = objects(message, "2", "3", "110180")
    assert study.get("ParticipantObjectID") == STUDY
    assert len(objects(message, "1", "1", "2")) == 1
    said = details(study)
    assert (said["frames"], said["source"], said["token"]) == ("1-3", "hit", "jti:abc-1")
    assert (said["policy"], said["version"], said["order"]) == ("assigned", "2", "assigned-1")


@pytest.mark.parametrize("kind", ["warmed", "purged"])
def test_warming_and_purging_have_one_patient_a_study_and_the_node_as_actor(kind: str) -> None:
    message = dicom(kind=kind, subject="", issuer="")  # PS3.15 A.5.3.6, A.5.3.8
    actors = list(message.iter("ActiveParticipant"))
    assert [actor.get("UserID") for actor in actors] == [NODE]
    assert len(objects(message, "2", "3", "110180")) == 1
    assert len(objects(message, "1", "1", "2")) == 1


def test_a_search_is_a_query_from_the_client_to_the_node() -> None:
    message = dicom(action="search", study="")  # PS3.15 A.5.3.10
    assert message[0][0].get("csd-code") == "110112"
    (source,) = participants(message, "110153")
    (destination,) = participants(message, "110152")
    assert source.get("NetworkAccessPointID") == "10.0.0.7"
    assert destination.get("UserID") == NODE
    (asked,) = objects(message, "2", "3", "110181")
    assert asked.find("ParticipantObjectQuery") is not None


def test_a_break_glass_is_a_transfer_that_says_emergency_and_why() -> None:
    event = dicom(kind="break-glass", reason="stroke, no assignment yet")[0]
    assert the(event.find("EventTypeCode")).get("csd-code") == "110127"
    assert the(event.find("EventOutcomeDescription")).text == "stroke, no assignment yet"


def test_a_refusal_is_an_alert_about_the_study_with_its_reason() -> None:
    message = dicom(kind="refused", reason="no policy permits it", policies=())
    (alert,) = objects(message, "2", "13", "110180")
    assert details(alert)["Alert Description"] == "no policy permits it"
    assert the(message[0].find("EventTypeCode")).get("csd-code") == "110132"


def test_reading_the_audit_names_the_log_as_the_standard_does() -> None:
    message = dicom(kind="audit-read", subject="auditor")  # PS3.15 A.5.3.2
    (log,) = objects(message, "2", "13", "12")
    assert the(log.find("ParticipantObjectName")).text == "Security Audit Log"


def test_a_patient_is_named_only_by_who_exports() -> None:
    entry = an_entry()
    (patient,) = objects(check_dicom(audit_message(entry)), "1", "1", "2")
    assert patient.get("ParticipantObjectID") == "c" * 40
    told = audit_message(entry, patient_ids={STUDY: "MRN-7"})
    (patient,) = objects(check_dicom(told), "1", "1", "2")
    assert patient.get("ParticipantObjectID") == "MRN-7"
    found = check_fhir(audit_event(entry, patient_ids={STUDY: "MRN-7"}))
    assert found.entities("1")[0].what.identifier.value == "MRN-7"


def test_characters_that_xml_cannot_hold_do_not_break_the_message() -> None:
    dicom(subject="a\x00b\x1f<&>", reason="x\x08y]]>", kind="refused")


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("action", ["frames", "search", ""])
def test_each_kind_is_a_valid_audit_event(kind: Any, action: str) -> None:
    event = fhir(kind=kind, action=action)
    assert event.outcome == EXPECTED[kind][2]
    check_fhir(audit_event(an_entry(AuditRecord(kind=kind, action=action))))


def test_a_served_frame_has_the_shape_of_a_patient_read() -> None:
    event = fhir()
    assert event.meta is not None
    assert event.meta.profile[0].endswith("IHE.BasicAudit.PatientRead")
    assert (event.type.code, event.subtype[0].code, event.action) == ("rest", "read", "R")
    (client,), (server,), (user,) = (event.agents(c) for c in ("110152", "110153", "IRCP"))
    assert client.network is not None
    assert client.network.address == "10.0.0.7"
    assert server.network is not None
    assert server.who.identifier.value == NODE
    assert user.requestor
    assert user.network is None
    assert user.who.identifier.value == "reader-1"
    assert user.policy is not None
    assert user.policy[0] == "urn:ietf:params:oauth:jti:abc-1"
    assert not client.requestor
    (data,), (patient,), (transaction,) = (event.entities(c) for c in ("2", "1", "XrequestId"))
    assert data.role is not None
    assert data.role.code in {"3", "4", "20"}
    assert patient.what.type == "Patient"
    assert transaction.what.identifier.value == "r-1"


def test_a_search_has_the_roles_of_a_query_and_holds_it() -> None:
    event = fhir(action="search")
    assert (event.subtype[0].code, event.action) == ("search", "E")
    assert the(event.agents("110153")[0].network).address == "10.0.0.7"
    assert event.agents("110152")[0].who.identifier.value == NODE
    assert event.entities("2")[0].query
    assert the(event.entities("2")[0].role).code == "24"


def test_a_break_glass_is_a_purpose_of_the_event() -> None:
    event = fhir(kind="break-glass", reason="stroke")
    assert event.purposeOfEvent is not None
    assert event.purposeOfEvent[0].coding[0].code == "BTG"
    assert event.outcomeDesc == "stroke"


def test_a_token_without_jti_is_named_by_its_digest() -> None:
    (user,) = fhir(token="sha256:" + "e" * 64).agents("IRCP")
    assert the(user.policy)[0] == "urn:teleprefetch:token:sha256:" + "e" * 64


def test_the_id_is_that_of_the_record_and_of_no_other() -> None:
    assert fhir().id == fhir().id
    assert fhir().id != fhir(request="r-2").id
