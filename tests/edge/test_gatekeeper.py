"""The gatekeeper decides by the reading list alone, remembers for seconds, and tells nothing."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.domain.policy.access import Circumstances, Principal
from teleprefetch.domain.policy.readings import AssignedTo, access_of
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import DEFAULT_FOLDER, read_policies
from teleprefetch.edge.policy.gatekeeper import Asked, Gatekeeper, Grant, Refusal
from teleprefetch.edge.policy.reading_list import ReadingList
from teleprefetch.edge.policy.recording import Answer, record_of, record_of_refused_token
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError
from tests.policy_builders import ANOTHER, ISSUER, NOW, PRIOR, STUDY, a_principal, a_reading

POLICIES = CedarPolicies(read_policies())


class CountingPolicies(CedarPolicies):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(read_policies())
        self.asked = 0

    def decide_all(self, principal, action, resources, at: Circumstances):
        self.asked += 1
        return super().decide_all(principal, action, resources, at)


class Times:
    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self):
        return NOW + timedelta(seconds=self.elapsed_s)

    def timer(self) -> float:
        return 100 + self.elapsed_s


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def readings(tmp_path: Path, times: Times):
    listed = ReadingList(tmp_path / "readings.sqlite", clock=times.now)
    yield listed
    listed.close()


@pytest.fixture
def counting() -> CountingPolicies:
    return CountingPolicies()


@pytest.fixture
def gate(readings: ReadingList, times: Times, counting: CountingPolicies) -> Gatekeeper:
    return Gatekeeper(
        counting,
        readings=readings,
        node="node-a",
        locations=("home",),
        clock=times.now,
        timer=times.timer,
    )


def asked(principal: Principal | None = None, **changes) -> Asked:
    fields = {"action": "frames", "study": STUDY, "client": "10.0.0.7"} | changes
    return Asked(principal=principal or a_principal(), **fields)


def test_a_study_and_its_priors_are_granted_with_the_assignment_and_its_order(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading())
    grant = gate.admit(asked())
    assert isinstance(grant, Grant)
    assert grant.policies == ("assigned",)
    assert (grant.assignment, grant.order, grant.origin_id) == ("A-1", "assigned-1", "store-1")
    prior = gate.admit(asked(study=PRIOR))
    assert isinstance(prior, Grant)
    assert prior.policies == ("prior-of-assigned",)
    assert isinstance(gate.admit(asked(study=ANOTHER)), Refusal)


def test_a_refusal_of_an_unassigned_study_is_that_of_one_that_nobody_knows(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading(assigned_to=AssignedTo(issuer=ISSUER, subject="reader-2")))
    assert gate.admit(asked()) == gate.admit(asked(study="1.2.3.4.5"))


def test_a_reading_that_names_nobody_gives_access_to_nobody(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading(assigned_to=None))
    assert isinstance(gate.admit(asked()), Refusal)


def test_readings_of_two_locations_do_not_mix(gate: Gatekeeper, readings: ReadingList) -> None:
    """A group's member at one site has nothing of the group's assignment at another."""
    group = AssignedTo(issuer=ISSUER, groups=("thoracic",))
    readings.put(a_reading(assignment_id="A-2", reading_location="away", assigned_to=group))
    readings.put(a_reading(assigned_to=AssignedTo(issuer=ISSUER, subject="reader-2")))
    assert isinstance(gate.admit(asked()), Refusal)
    assert isinstance(gate.admit(asked(a_principal(site="away", token_sha256="e" * 64))), Grant)


def test_break_glass_is_used_only_where_nothing_else_allows(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading())
    plain = gate.admit(asked(break_glass="stroke"))
    assert isinstance(plain, Grant)
    assert not plain.is_break_glass
    emergency = gate.admit(asked(study=ANOTHER, break_glass="stroke"))
    assert isinstance(emergency, Grant)
    assert emergency.is_break_glass
    assert isinstance(gate.admit(asked(study=ANOTHER)), Refusal)
    assert isinstance(gate.admit(asked(study=ANOTHER, break_glass="  ")), Refusal)


def test_break_glass_does_not_reach_a_study_of_another_location(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading(reading_location="away"))
    assert isinstance(gate.admit(asked(break_glass="stroke")), Refusal)


def test_a_decision_is_used_again_for_seconds_and_then_made_anew(
    gate: Gatekeeper, readings: ReadingList, times: Times, counting: CountingPolicies
) -> None:
    readings.put(a_reading())
    for _ in range(3):
        assert isinstance(gate.admit(asked()), Grant)
    assert counting.asked == 1
    times.elapsed_s = 5.1
    gate.admit(asked())
    assert counting.asked == 2


@pytest.mark.parametrize(
    "other",
    [
        {"action": "metadata"},
        {"study": PRIOR},
        {"client": "10.0.0.8"},
        {"break_glass": "stroke"},
        {"principal": a_principal(token_sha256="f" * 64)},
    ],
)
def test_a_decision_is_used_again_for_nothing_else(
    gate: Gatekeeper, readings: ReadingList, counting: CountingPolicies, other
) -> None:
    readings.put(a_reading())
    gate.admit(asked())
    gate.admit(asked(**other))
    assert counting.asked == 2


def test_other_policies_hold_at_once(
    gate: Gatekeeper, readings: ReadingList, tmp_path: Path
) -> None:
    readings.put(a_reading())
    assert isinstance(gate.admit(asked()), Grant)
    text = (DEFAULT_FOLDER / "default.cedar").read_text()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x.cedar").write_text(
        text + '@id("closed") forbid (principal, action, resource);'
    )
    gate.use(CedarPolicies(read_policies(tmp_path / "p")))
    refusal = gate.admit(asked())
    assert isinstance(refusal, Refusal)
    assert refusal.policies == ("closed",)
    assert refusal.policy_set == gate.policy_set != POLICIES.version


@pytest.mark.parametrize("writer", ["this process", "another"])
def test_a_withdrawn_assignment_ends_remembered_grants(
    gate: Gatekeeper, readings: ReadingList, times: Times, tmp_path: Path, writer: str
) -> None:
    readings.put(a_reading())
    assert isinstance(gate.admit(asked()), Grant)
    if writer == "another":
        other = ReadingList(tmp_path / "readings.sqlite", clock=times.now)
        other.withdraw("A-1")
        other.close()
    else:
        readings.withdraw("A-1")
    times.elapsed_s = 0.06
    assert isinstance(gate.admit(asked()), Refusal)


def test_a_new_assignment_ends_remembered_refusals(
    gate: Gatekeeper, readings: ReadingList, times: Times
) -> None:
    assert isinstance(gate.admit(asked()), Refusal)
    readings.put(a_reading())
    times.elapsed_s = 0.06
    assert isinstance(gate.admit(asked()), Grant)


def test_a_grant_never_outlives_the_token(
    gate: Gatekeeper, readings: ReadingList, times: Times
) -> None:
    readings.put(a_reading())
    short = a_principal(ends_at_s=(NOW + timedelta(seconds=2)).timestamp())
    assert isinstance(gate.admit(asked(short)), Grant)
    times.elapsed_s = 2.0
    refusal = gate.admit(asked(short))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "the token has ended"


def test_what_is_remembered_is_bounded(gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleprefetch.edge.policy.gatekeeper._MOST_REMEMBERED", 10)
    for n in range(35):
        gate.admit(asked(study=f"1.2.{n}"))
    assert len(gate._remembered) <= 10


def test_a_search_shows_what_is_assigned_and_nothing_else(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading())
    search = asked(action="search", study=None)
    assert gate.visible(search, [ANOTHER, STUDY, PRIOR]).keys() == {STUDY, PRIOR}
    operator = a_principal(roles=frozenset({"operator"}), token_sha256="0" * 64)
    assert gate.visible(asked(operator, action="search"), [STUDY, PRIOR]) == {}
    reader_2 = asked(a_principal(subject="reader-2", groups=frozenset(), token_sha256="2" * 64))
    assert gate.visible(reader_2, [STUDY, PRIOR]) == {}


def test_the_nodes_status_is_for_operators(gate: Gatekeeper) -> None:
    operator = a_principal(roles=frozenset({"operator"}), token_sha256="0" * 64)
    assert isinstance(gate.admit(asked(operator, action="status", study=None)), Grant)
    assert isinstance(gate.admit(asked(action="status", study=None)), Refusal)


def test_a_reading_ends_by_itself(readings: ReadingList, times: Times) -> None:
    readings.put(a_reading(ends_at=NOW + timedelta(seconds=10)))
    assert readings.of_study(STUDY)
    times.elapsed_s = 10
    assert readings.of_study(STUDY) == ()
    readings.put(a_reading(assignment_id="A-2", study_instance_uid=ANOTHER, priors=()))
    rows = readings._connection.execute("SELECT count(*) FROM studies").fetchone()
    assert rows == (1,)


def test_an_assignment_that_changes_takes_the_place_of_itself(readings: ReadingList) -> None:
    readings.put(a_reading())
    readings.put(a_reading(priors=(ANOTHER,)))
    assert readings.of_study(PRIOR) == ()
    (reading,) = readings.of_study(ANOTHER)
    assert reading.priors == (ANOTHER,)


def test_readings_outlive_the_process(tmp_path: Path, readings: ReadingList, times: Times) -> None:
    readings.put(a_reading())
    again = ReadingList(tmp_path / "readings.sqlite", clock=times.now)
    assert again.of_study(PRIOR) == (a_reading(),)
    again.close()


def test_a_list_that_cannot_be_opened_or_read_is_an_error_of_the_node(
    tmp_path: Path, times: Times
) -> None:
    with pytest.raises(NodeUnavailableError):
        ReadingList(tmp_path / "no" / "folder.sqlite")
    (tmp_path / "bad.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(NodeUnavailableError):
        ReadingList(tmp_path / "bad.sqlite")


@pytest.mark.parametrize(
    "wrong", [{"issuer": "https://a#b"}, {"issuer": "not a url"}, {"issuer": ISSUER, "subject": ""}]
)
def test_an_assignment_to_a_malformed_name_is_refused(wrong) -> None:
    with pytest.raises(InvalidPayloadError):
        AssignedTo.parse(wrong)


def test_a_study_is_a_prior_for_one_and_assigned_to_another() -> None:
    other = a_reading(
        assignment_id="A-2",
        study_instance_uid=PRIOR,
        priors=(),
        assigned_to=AssignedTo(issuer=ISSUER, subject="reader-2"),
    )
    (access,) = access_of(PRIOR, [a_reading(), other], locations=("home",))
    assert access.assigned_to == {f"{ISSUER}#reader-2"}
    assert access.prior_for == {f"{ISSUER}#reader-1"}


ANSWER = Answer(status=200, series="1.2.840.1.1", frames="1", version="2", source="hit")


def test_a_grant_a_break_glass_and_a_refusal_are_recorded_as_what_they_are(
    gate: Gatekeeper, readings: ReadingList
) -> None:
    readings.put(a_reading())
    granted = record_of(asked(), gate.admit(asked()), ANSWER)
    assert (granted.kind, granted.policies, granted.token) == ("served", ("assigned",), "jti:t-1")
    assert (granted.subject, granted.study, granted.order) == ("reader-1", STUDY, "assigned-1")
    assert (granted.version, granted.source, granted.status) == ("2", "hit", 200)
    assert granted.policy_set == gate.policy_set
    emergency = asked(study=ANOTHER, break_glass="stroke")
    loud = record_of(emergency, gate.admit(emergency), ANSWER)
    assert (loud.kind, loud.reason) == ("break-glass", "stroke")
    nobody = asked(study=ANOTHER)
    refused = record_of(nobody, gate.admit(nobody), Answer(status=404))
    assert (refused.kind, refused.reason) == ("refused", "no policy permits it")
    assert (refused.assignment, refused.order, refused.status) == ("", "", 404)
    for record in (granted, loud, refused):
        assert AuditRecord.read(json.loads(record.canonical())) == record


def test_a_token_that_was_refused_is_recorded_by_its_digest() -> None:
    record = record_of_refused_token(
        reason="expired",
        client="10.0.0.7",
        action=None,
        study="",
        request="",
        token_sha256="a" * 64,
    )
    assert (record.kind, record.status, record.token) == ("refused", 401, "sha256:" + "a" * 64)
    record.canonical()
