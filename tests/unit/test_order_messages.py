"""Orders of radiology information systems: what becomes of each field, and of what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.assignment import StudyAssigned
from teleprefetch.domain.order_messages import OrderDefaults, from_fhir, from_hl7
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.operate.assign_command import read_order

DEFAULTS = OrderDefaults(origin_id="store", reading_location="home", issuer="https://issuer")
UID = "1.2.840.113619.2.62.994044785528.114289542805"

OBR = (
    "OBR|1|A100Z^MESA_ORDPLC|B100Z^MESA_ORDFIL|P1^CT||||||||||||||X|R|S||||CT|||1^once^^^^S"
    "|||||reader-1&Who&Ever"
)
# the shape of the samples in HL7 v2.5.1 4.4.1 and IHE RAD TF-2 4.4, with made-up people
ORM = "\r".join(
    (
        "MSH|^~\\&|RIS|SITE|TELE|SITE|20261124120000||ORM^O01|MSG1|P|2.3.1",
        "PID|1||PAT1^^^SITE||Doe^Jane||19610203|F",
        "ORC|NW|A100Z^MESA_ORDPLC|B100Z^MESA_ORDFIL||SC||1^once^^^^S",
        OBR,
        f"ZDS|{UID}^100^Application^DICOM",
    )
)


def test_an_order_is_assigned_with_what_it_says_and_what_the_site_adds() -> None:
    assert from_hl7(ORM, DEFAULTS) == StudyAssigned.parse(
        {
            "schema_version": "1",
            "assignment_id": "A100Z",
            "origin_id": "store",
            "study_instance_uid": UID,
            "reading_location": "home",
            "priority": "stat",
            "assigned_to": {"issuer": "https://issuer", "subject": "reader-1"},
        }
    )


def test_an_order_in_an_mllp_frame_with_line_feeds_is_the_same() -> None:
    framed = "\x0b" + ORM.replace("\r", "\r\n") + "\r\x1c\r"

    assert from_hl7(framed, DEFAULTS) == from_hl7(ORM, DEFAULTS)


def test_a_message_may_bring_separators_of_its_own() -> None:
    other = ORM.replace("|", "#").replace("^", "@").replace("MSH#@~", "MSH#@~")

    assert from_hl7(other, DEFAULTS).study_instance_uid == UID


@pytest.mark.parametrize(
    ("code", "priority"),
    [("S", "stat"), ("A", "high"), ("R", "routine"), ("", "high"), ("X", "high")],
)
def test_the_priority_of_an_order(code: str, priority: str) -> None:
    message = ORM.replace("^^^^S", f"^^^^{code}")

    assert from_hl7(message, DEFAULTS).priority == priority


def test_the_priority_of_an_order_of_later_versions_is_in_its_own_segment() -> None:
    message = ORM.replace("^^^^S", "^^^^R") + "\rTQ1|1||||||||A^ASAP"

    assert from_hl7(message, DEFAULTS).priority == "high"


def test_the_study_of_an_imaging_order_is_in_ipc() -> None:
    lines = [line for line in ORM.split("\r") if not line.startswith("ZDS")]

    assert from_hl7("\r".join([*lines, f"IPC|acc|rp|{UID}^X|"]), DEFAULTS).study_instance_uid == UID


def test_the_study_of_a_result_is_its_observation() -> None:
    lines = [line for line in ORM.split("\r") if not line.startswith("ZDS")]
    other = "OBX|1|TX|121070^Findings^DCM||nothing"
    study = f"OBX|2|HD|113014^DICOM Study^DCM||{UID}"

    assert from_hl7("\r".join([*lines, other, study]), DEFAULTS).study_instance_uid == UID


def test_an_id_that_is_no_name_is_replaced_by_its_digest() -> None:
    assigned = from_hl7(ORM.replace("A100Z", "A 100/Z"), DEFAULTS)

    assert len(assigned.assignment_id) == 40
    assert assigned == from_hl7(ORM.replace("A100Z", "A 100/Z"), DEFAULTS)


def test_without_an_issuer_nobody_is_named() -> None:
    nameless = DEFAULTS.model_copy(update={"issuer": None})

    assert from_hl7(ORM, nameless).assigned_to is None


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("", "MSH"),
        ("PID|1", "MSH"),
        (ORM.replace("ORC|NW", "ORC|CA"), "ORC-1"),
        (ORM.replace("ORC|NW", "ORC|DC"), "ORC-1"),
        ("\r".join(ORM.split("\r")[:2]), "ORC-2, OBR-2, ORC-3, OBR-3"),
        ("\r".join(ORM.split("\r")[:4]), "ZDS-1, IPC-3, OBX-5"),
        (ORM.replace(UID, "Doe^Jane"), "order.study_instance_uid"),
    ],
)
def test_an_order_that_assigns_nothing_is_refused_by_the_name_of_its_field(
    message: str, field: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=f"^{field}: ") as caught:
        from_hl7(message, DEFAULTS)
    assert "Doe" not in str(caught.value)


def a_task(**changed: Any) -> dict[str, Any]:
    about = {
        "resourceType": "Task",
        "id": "task-1",
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "focus": {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}},
        "owner": {"identifier": {"system": "https://people", "value": "reader-1"}},
        "restriction": {"period": {"end": "2026-11-24T12:30:00Z"}},
    }
    return about | changed


def test_a_task_is_assigned_with_its_deadline() -> None:
    assigned = from_fhir(a_task(), DEFAULTS)

    assert (assigned.assignment_id, assigned.study_instance_uid) == ("task-1", UID)
    assert assigned.priority == "high"
    assert assigned.deadline_at is not None
    assert assigned.deadline_at.isoformat() == "2026-11-24T12:30:00+00:00"
    assert assigned.assigned_to is not None
    assert assigned.assigned_to.subject == "reader-1"


def test_a_service_request_is_assigned_by_its_supporting_study_and_performer() -> None:
    request = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "priority": "stat",
        "identifier": [{"system": "https://orders", "value": "A-17"}],
        "supportingInfo": [{"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}}],
        "performer": [{"identifier": {"value": "reader-2"}}],
    }

    assigned = from_fhir(request, DEFAULTS)

    assert (assigned.assignment_id, assigned.priority) == ("A-17", "stat")
    assert assigned.study_instance_uid == UID
    assert assigned.assigned_to is not None
    assert assigned.assigned_to.subject == "reader-2"


@pytest.mark.parametrize(
    ("changed", "element"),
    [
        ({"resourceType": "Patient"}, "resourceType"),
        ({"status": "cancelled"}, "status"),
        ({"status": None}, "status"),
        ({"id": None}, "id, identifier"),
        ({"focus": {"reference": "ImagingStudy/1"}}, "identifier of urn:dicom:uid"),
        (
            {"focus": {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:Doe"}}},
            "order.study_instance_uid",
        ),
        ({"restriction": {"period": {"end": "2026-11-24"}}}, "order.deadline_at"),
    ],
)
def test_a_resource_that_assigns_nothing_is_refused_by_the_name_of_its_element(
    changed: dict[str, Any], element: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=f"^{element}: ") as caught:
        from_fhir(a_task(**changed), DEFAULTS)
    assert "Doe" not in str(caught.value)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(a_task())), inner)
    ),
    max_leaves=12,
)


@given(content=st.text() | ANY_JSON.map(json.dumps) | st.text().map(lambda text: ORM + text))
def test_whatever_is_sent_is_an_assignment_or_refused(content: str) -> None:
    try:
        assigned = read_order(content, DEFAULTS)
    except InvalidPayloadError:
        return
    assert assigned.study_instance_uid


@given(changed=st.dictionaries(st.sampled_from(sorted(a_task())), ANY_JSON, max_size=4))
def test_whatever_a_resource_holds_it_is_an_assignment_or_refused(changed: dict[str, Any]) -> None:
    try:
        assigned = from_fhir(a_task() | changed, DEFAULTS)
    except InvalidPayloadError:
        return
    assert assigned.study_instance_uid == UID
