"""Who may do what by the default policies; and policies that do not hold are named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from teleprefetch.domain.policy.access import (
    ACTIONS,
    Circumstances,
    NodeStatus,
    StudyAccess,
    qualified,
    roles_of,
)
from teleprefetch.edge.policy.engine import CedarPolicies
from teleprefetch.edge.policy.files import DEFAULT_FOLDER, SCHEMA, read_policies, split
from teleprefetch.errors import InvalidPayloadError
from tests.policy_builders import ISSUER, STUDY, a_principal

AT = Circumstances(datetime(2026, 11, 24, 12, 0, tzinfo=UTC), "10.0.0.7")
EMERGENCY = Circumstances(AT.now, AT.network, "stroke")
READ = frozenset({"search", "metadata", "frames", "rendered"})
NOTHING: frozenset[str] = frozenset()
ME, MY_GROUP = f"{ISSUER}#reader-1", f"{ISSUER}#thoracic"


def a_study(**changes) -> StudyAccess:
    return StudyAccess(**{"study_instance_uid": STUDY, "location": "home"} | changes)


UNASSIGNED = a_study()
MINE = a_study(assigned_to=frozenset({ME}))
MY_GROUPS = a_study(assigned_to_groups=frozenset({MY_GROUP}))
MY_PRIOR = a_study(prior_for=frozenset({ME}))
MY_GROUPS_PRIOR = a_study(prior_for_groups=frozenset({MY_GROUP}))
OTHERS = a_study(
    assigned_to=frozenset({f"{ISSUER}#reader-2"}),
    assigned_to_groups=frozenset({f"{ISSUER}#neuro"}),
    prior_for=frozenset({f"{ISSUER}#reader-2"}),
    prior_for_groups=frozenset({f"{ISSUER}#neuro"}),
)
OPERATOR = {"roles": frozenset({"operator"})}
BOTH = {"roles": frozenset({"reader", "operator"})}
ELSEWHERE = {"site": "other"}
NOWHERE = {"site": None}
OTHER_ISSUER = {"issuer": "https://another.example"}
NO_ROLE = {"roles": frozenset()}

TABLE = [
    ("assigned", {}, MINE, AT, READ),
    ("assigned without a role", NO_ROLE, MINE, AT, READ),
    ("assigned to a group", {}, MY_GROUPS, AT, READ),
    ("prior of assigned", {}, MY_PRIOR, AT, READ),
    ("prior of assigned to a group", {}, MY_GROUPS_PRIOR, AT, READ),
    ("unassigned", {}, UNASSIGNED, AT, NOTHING),
    ("another's", {}, OTHERS, AT, NOTHING),
    ("assigned, at another site", ELSEWHERE, MINE, AT, NOTHING),
    ("group's, at another site", ELSEWHERE, MY_GROUPS, AT, NOTHING),
    ("prior, at another site", ELSEWHERE, MY_PRIOR, AT, NOTHING),
    ("assigned, at no site", NOWHERE, MINE, AT, NOTHING),
    ("prior, at no site", NOWHERE, MY_PRIOR, AT, NOTHING),
    ("the same names of another issuer", OTHER_ISSUER, MINE, AT, NOTHING),
    ("the same group of another issuer", OTHER_ISSUER, MY_GROUPS, AT, NOTHING),
    ("the same prior of another issuer", OTHER_ISSUER, MY_GROUPS_PRIOR, AT, NOTHING),
    ("not in the group", {"groups": frozenset()}, MY_GROUPS, AT, NOTHING),
    ("break-glass", {}, UNASSIGNED, EMERGENCY, READ),
    ("break-glass, another's", {}, OTHERS, EMERGENCY, READ),
    ("break-glass, at another site", ELSEWHERE, UNASSIGNED, EMERGENCY, NOTHING),
    ("break-glass, at no site", NOWHERE, UNASSIGNED, EMERGENCY, NOTHING),
    ("break-glass, not a reader", NO_ROLE, UNASSIGNED, EMERGENCY, NOTHING),
    ("operator", OPERATOR, UNASSIGNED, AT, frozenset({"status"})),
    ("operator, assigned", OPERATOR, MINE, AT, frozenset({"status"})),
    ("operator and reader, assigned", BOTH, MINE, AT, frozenset({"status"})),
    ("operator, prior", OPERATOR, MY_GROUPS_PRIOR, AT, frozenset({"status"})),
    ("operator and reader, break-glass", BOTH, UNASSIGNED, EMERGENCY, frozenset({"status"})),
]


@pytest.fixture(scope="module")
def policies() -> CedarPolicies:
    return CedarPolicies(read_policies())


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("who", "study", "at", "allowed"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_default_policies(policies, who, study, at, allowed, action) -> None:
    decision = policies.decide(a_principal(**who), action, study, at)
    assert decision.is_allowed == (action in allowed)
    assert decision.problems == ()
    assert bool(decision.policies) or not decision.is_allowed


@pytest.mark.parametrize(
    ("who", "study", "at", "names"),
    [
        ({}, MINE, AT, ("assigned",)),
        ({}, MY_GROUPS_PRIOR, AT, ("prior-of-assigned",)),
        ({}, UNASSIGNED, EMERGENCY, ("break-glass",)),
        (OPERATOR, MINE, AT, ("operators-see-no-patients",)),
        ({}, UNASSIGNED, AT, ()),
    ],
)
def test_a_decision_names_the_policies_that_made_it(policies, who, study, at, names) -> None:
    assert policies.decide(a_principal(**who), "frames", study, at).policies == names


@pytest.mark.parametrize(("who", "allowed"), [({}, False), (OPERATOR, True), (BOTH, True)])
def test_a_nodes_own_status_is_for_operators(policies, who, allowed) -> None:
    decision = policies.decide(a_principal(**who), "status", NodeStatus("node-a"), AT)
    assert decision.is_allowed is allowed


def test_several_studies_are_decided_each_for_itself(policies) -> None:
    decisions = policies.decide_all(a_principal(), "frames", [UNASSIGNED, MINE, OTHERS, MINE], AT)
    assert [decision.is_allowed for decision in decisions] == [False, True, False, True]


@pytest.mark.parametrize("gone", range(5))
def test_the_table_changes_if_a_policy_is_taken_away(gone: int, tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / "default.cedar").read_text()
    kept = [s.text for n, s in enumerate(split("default.cedar", text)) if n != gone]
    (tmp_path / "site.cedar").write_text("\n".join(kept))
    fewer = CedarPolicies(read_policies(tmp_path))
    changed = [
        name
        for name, who, study, at, allowed in TABLE
        for action in ACTIONS
        if fewer.decide(a_principal(**who), action, study, at).is_allowed != (action in allowed)
    ]
    assert changed


CONDITIONS = [
    "principal.site == resource.location &&",
    "resource.assignedTo.contains(principal) || ",
    " || principal in resource.assignedToGroups",
    "resource.priorFor.contains(principal) || ",
    " || principal in resource.priorForGroups",
    "context has breakGlass && ",
    " && principal.site == resource.location\n",
    'principal in Role::"reader"',
    'principal in Role::"operator"',
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_table_changes_if_any_condition_is_taken_away(condition: str, tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / "default.cedar").read_text()
    count = text.count(condition)
    assert count
    for number in range(count):
        at = -1
        for _ in range(number + 1):
            at = text.index(condition, at + 1)
        instead = "principal" if condition.startswith("principal in Role") else "\n"
        (tmp_path / "site.cedar").write_text(text[:at] + instead + text[at + len(condition) :])
        weaker = CedarPolicies(read_policies(tmp_path))
        assert any(
            weaker.decide(a_principal(**who), action, study, circumstances).is_allowed
            != (action in allowed)
            for _, who, study, circumstances, allowed in TABLE
            for action in ACTIONS
        ) or _node_changes(weaker), f"occurrence {number}"


def _node_changes(policies: CedarPolicies) -> bool:
    return policies.decide(a_principal(), "status", NodeStatus("node-a"), AT).is_allowed


def test_a_forbid_that_fails_to_evaluate_refuses_everything(tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / "default.cedar").read_text()
    failing = """
    @id("overflow")
    forbid (principal, action == Action::"frames", resource)
    when { context.now.toTime().toMilliseconds() + 9223372036854775807 > 0 };
    """
    (tmp_path / "site.cedar").write_text(text + failing)
    decision = CedarPolicies(read_policies(tmp_path)).decide(a_principal(), "frames", MINE, AT)
    assert not decision.is_allowed
    assert "overflow" in " ".join(decision.problems)


def test_a_site_may_forbid_by_time_network_or_study(tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / "default.cedar").read_text()
    more = f"""
    @id("from-the-hospital") forbid (principal, action in Action::"pixels", resource)
    unless {{ context.network.isInRange(ip("10.0.0.0/8")) }};
    @id("vip") forbid (principal, action, resource is Study)
    when {{ resource.studyInstanceUID == "{STUDY}.9" }};
    """
    (tmp_path / "site.cedar").write_text(text + more)
    site = CedarPolicies(read_policies(tmp_path))
    outside = Circumstances(AT.now, "2001:db8::7")
    assert site.decide(a_principal(), "frames", MINE, AT).is_allowed
    assert site.decide(a_principal(), "metadata", MINE, outside).is_allowed
    refused = site.decide(a_principal(), "frames", MINE, outside)
    assert (refused.is_allowed, refused.policies) == (False, ("from-the-hospital",))
    vip = a_study(study_instance_uid=f"{STUDY}.9", assigned_to=frozenset({ME}))
    assert site.decide(a_principal(), "frames", vip, AT).policies == ("vip",)


FAULTY = {
    "cut short": ('@id("x")\npermit (principal, actio', "b.cedar:3: unexpected end of input"),
    "unknown attribute": (
        '@id("x")\npermit (principal, action, resource is Study)when { principal.shoe == 3 };',
        'b.cedar:3: for policy "x", attribute `shoe`',
    ),
    "unknown action": (
        '@id("x") permit (principal, action == Action::"print", resource);',
        "b.cedar:3",
    ),
    "without a name": ("permit (principal, action, resource);", "b.cedar:3: a policy without @id"),
    "a template": (
        '@id("x") permit (principal == ?principal, action, resource);',
        "b.cedar:3: not one policy",
    ),
    "a name twice": (
        '@id("x") permit (principal, action, resource);\n' * 2,
        '@id("x") is there twice',
    ),
    "a type that does not fit": (
        '@id("x") permit (principal, action, resource is Study) when { resource.location > 3 };',
        "b.cedar:3",
    ),
}


@pytest.mark.parametrize("text", [row[0] for row in FAULTY.values()], ids=FAULTY)
def test_a_policy_that_does_not_hold_is_named_by_file_and_line(text: str, tmp_path: Path) -> None:
    (said,) = [row[1] for row in FAULTY.values() if row[0] == text]
    (tmp_path / "a.cedar").write_text(
        '@id("fine; // really")\npermit (principal, action, resource);\n'
    )
    (tmp_path / "b.cedar").write_text("// a comment; with a semicolon\n\n" + text)
    with pytest.raises(InvalidPayloadError) as caught:
        read_policies(tmp_path)
    assert said in str(caught.value)
    assert "a.cedar" not in str(caught.value)


def test_a_schema_that_does_not_parse_is_named_by_file_and_line(tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / SCHEMA).read_text()
    line = text[: text.index("entity Node")].count("\n") + 1
    (tmp_path / SCHEMA).write_text(text.replace("entity Node", "entty Node"))
    (tmp_path / "site.cedar").write_text('@id("x") permit (principal, action, resource);')
    with pytest.raises(InvalidPayloadError, match=rf"{SCHEMA}:{line}: "):
        read_policies(tmp_path)


def test_no_policies_at_all_or_unreadable_ones_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidPayloadError, match=r"no \*\.cedar file"):
        read_policies(tmp_path)
    (tmp_path / "a.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidPayloadError, match=r"a\.cedar: cannot be read"):
        read_policies(tmp_path)


def test_the_version_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text('@id("x") permit (principal, action, resource);')
    before = read_policies(tmp_path).version
    (tmp_path / "a.cedar").write_text('@id("x") permit (principal, action, resource); // more')
    assert read_policies(tmp_path).version != before


def test_statements_end_at_semicolons_outside_of_texts_comments_and_brackets() -> None:
    text = '// one; two\n"a;\\"b"; {c;\nd}\n;// e;\n  f'
    found = [(s.line, s.text) for s in split("x", text)]
    assert found == [(2, '"a;\\"b";'), (2, "{c;\nd}\n;"), (5, "f")]


def test_names_of_issuers_never_meet() -> None:
    assert qualified("https://a", "b#c") == "https://a#b#c"
    for issuer in ("https://a#b", ""):
        with pytest.raises(InvalidPayloadError, match="issuer"):
            qualified(issuer, "c")


def test_roles_come_from_the_groups_of_their_issuer() -> None:
    rules = {ISSUER: {"radiologists": "reader", "pacs": "operator"}}
    assert roles_of(ISSUER, ["radiologists", "x"], rules) == {"reader"}
    assert roles_of("https://another.example", ["radiologists"], rules) == frozenset()
