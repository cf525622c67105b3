"""domain.rules and domain.rule_check: a site's rules are data, and are checked as such."""

import pytest

from teleprefetch.domain.relevance import rank_priors
from teleprefetch.domain.rule_check import checked, conflicts
from teleprefetch.domain.rules import DEFAULT_RULES, parse_rules
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import PatientKey, StudyRecord

RULES = """
floor = 0.3
warm_doubtful = true

[[warm]]
name = "five years"
max_age_days = 1825
max_number = 4

[[pairs]]
name = "cyclists"
current_region = "KNEE"
prior_region = "LSPINE"
value = 0.8

[procedure_codes]
K71 = "CT CHEST"
"""


def test_rules_are_read_from_toml_and_nothing_is_the_default() -> None:
    rules = parse_rules(RULES)

    assert (rules.floor, rules.warm[0].max_number, rules.pairs[0].value) == (0.3, 4, 0.8)
    assert parse_rules("") == DEFAULT_RULES


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("flor = 0.3", "flor"),
        ("floor = 2", "floor"),
        ("[[warm]]\nmax_number = 1", "warm.0.name"),
        ('[[warm]]\nname = "a"\nmax_age = 1', "warm.0.max_age"),
        ('[[warm]]\nname = "a"\nmax_number = -1', "warm.0.max_number"),
        ('[[warm]]\nname = "a"\ncurrent_region = "NOSE"', "current_region"),
        ('[[warm]]\nname = "a"\nprior_modality = "ZZ"', "prior_modality"),
        ('mute = ["age"]', "mute"),
        ("floor = ", "TOML"),
    ],
)
def test_an_error_in_the_rules_names_the_key(text: str, named: str) -> None:
    with pytest.raises(InvalidPayloadError, match=named):
        parse_rules(text)


def a_study(uid: str, description: str) -> StudyRecord:
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_description=description,
        study_date="20230101",
    )


def test_a_sites_own_pair_replaces_the_shipped_worth() -> None:
    current, prior = a_study("1.2.1", "XR KNEE LT"), a_study("1.3.1", "MRI LUMBAR SPINE")

    (shipped,) = rank_priors(current, [prior], now=None).priors
    (own,) = rank_priors(current, [prior], rules=parse_rules(RULES), now=None).priors

    assert shipped.probability < 0.1
    assert own.probability > 0.9


def test_a_sites_pair_for_one_modality_leaves_the_others_alone() -> None:
    rules = parse_rules(RULES.replace("value = 0.8", 'value = 0.8\nprior_modality = "CT"'))
    current = a_study("1.2.1", "XR KNEE LT")
    priors = [a_study("1.3.1", "MRI LUMBAR SPINE"), a_study("1.3.2", "CT LUMBAR SPINE")]

    first, second = rank_priors(current, priors, rules=rules, now=None).priors

    assert first.study.study_description == "CT LUMBAR SPINE"
    assert second.probability < 0.1


def test_a_muted_term_scores_nothing() -> None:
    current, prior = a_study("1.2.1", "XR KNEE LT"), a_study("1.3.1", "XR KNEE RT")

    (one,) = rank_priors(current, [prior], rules=parse_rules('mute = ["side"]'), now=None).priors

    assert "side" not in {term.term for term in one.terms}
    assert one.probability > 0.9


def viewer_against(viewer: str, warm: str) -> list[tuple[str, str]]:
    rules = parse_rules(f'[[viewer]]\nname = "hang"\n{viewer}\n[[warm]]\nname = "warm"\n{warm}')
    return [(one.viewer_rule, one.warm_rule) for one in conflicts(rules)]


@pytest.mark.parametrize(
    ("viewer", "warm"),
    [
        ('prior_modality = "MR"', "never = true"),
        ('current_region = "LIVER"', 'current_region = "ABDOMEN"\nmax_number = 0'),
        ("number = 3", "max_number = 2"),
        ("", "max_age_days = 700"),
        ("max_age_days = 900", "max_age_days = 700"),
        ("", "same_modality = true"),
        ('current_modality = "CT"\nprior_modality = "XR"', "same_modality = true"),
        ("oldest = true\nnumber = 2", "oldest = true\nmax_number = 1"),
    ],
)
def test_a_prior_the_viewer_hangs_and_the_rules_never_warm_is_a_conflict(viewer, warm) -> None:
    assert viewer_against(viewer, warm) == [("hang", "warm")]


@pytest.mark.parametrize(
    ("viewer", "warm"),
    [
        ("", ""),
        ('prior_modality = "MR"', 'prior_modality = "CT"\nnever = true'),
        ('current_region = "KNEE"', 'current_region = "CHEST"\nnever = true'),
        ("number = 2", "max_number = 2"),
        ("max_age_days = 700", "max_age_days = 700"),
        ("same_modality = true", "same_modality = true"),
        ('current_modality = "CT"\nprior_modality = "CT"', "same_modality = true"),
        ("oldest = true", "oldest = true\nmax_age_days = 700\nmax_number = 0"),
    ],
)
def test_a_viewer_that_hangs_what_is_warmed_is_no_conflict(viewer: str, warm: str) -> None:
    assert viewer_against(viewer, warm) == []


def test_a_pair_that_can_never_reach_the_floor_is_a_conflict_with_the_floor() -> None:
    text = '[[viewer]]\nname = "hang"\ncurrent_region = "KNEE"\nprior_region = "BRAIN"'

    assert [one.warm_rule for one in conflicts(parse_rules(text))] == ["floor"]
    wanted = text + '\n[[pairs]]\nname = "p"\ncurrent_region = "KNEE"\nprior_region = "BRAIN"'
    assert conflicts(parse_rules(wanted)) == ()


def test_the_check_refuses_conflicting_rules_and_names_both() -> None:
    rules = parse_rules('[[viewer]]\nname = "hang"\n[[warm]]\nname = "frugal"\nnever = true')

    with pytest.raises(InvalidPayloadError, match=r"viewer rule hang against warm rule frugal"):
        checked(rules)
    assert checked(DEFAULT_RULES) is DEFAULT_RULES
