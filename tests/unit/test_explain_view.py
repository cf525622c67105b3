"""explain_view: what an explanation looks like, whatever an archive wrote into its studies."""

import unicodedata
from io import StringIO

import pytest
from rich.console import Console

from teleprefetch.domain.explain import effect, explain
from teleprefetch.domain.rules import SiteRules, parse_rules
from teleprefetch.explain_view import tell, tell_effect
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord

DEFAULT = SiteRules()
NEVER_XR = parse_rules('[[warm]]\nname = "no films"\nprior_modality = "XR"\nnever = true')


def a_study(number: int, description: str, *, on: str = "20240101", **fields: str) -> StudyRecord:
    uid = f"1.2.{number}"
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_description=description,
        study_date=on,
        series=(
            SeriesRecord(
                pointer=SeriesPointer(study_instance_uid=uid, series_instance_uid=f"{uid}.1"),
                number_of_instances=1,
            ),
        ),
        **fields,
    )


CURRENT = a_study(1, "CT CHEST", on="20240601")
FILM, SCAN = a_study(2, "XR CHEST 2V"), a_study(3, "CT CHEST W CON")


def told(
    *others: StudyRecord,
    current: StudyRecord = CURRENT,
    rules: SiteRules = DEFAULT,
    width: int = 80,
) -> str:
    page = StringIO()
    console = Console(file=page, width=width, highlight=False, markup=False, emoji=False)
    explained = explain(current, others, rules=rules, budget_bytes=10**9)
    tell(console, explained)
    if rules != DEFAULT:
        before = explain(current, others, rules=DEFAULT, budget_bytes=10**9)
        tell_effect(
            console, effect(before, explained), after=explained, new="new.toml", old="old.toml"
        )
    return page.getvalue()


@pytest.mark.parametrize("text", ["CT\x1b[2J CHEST", "CT \x9b31mCHEST", "CT CHEST\x07\r\n\x00"])
def test_a_description_cannot_steer_the_terminal(text: str) -> None:
    page = told(a_study(2, text), current=a_study(1, text))

    assert "CHEST" in page
    assert {c for c in page if unicodedata.category(c) == "Cc"} == {"\n"}


def test_a_description_is_no_markup() -> None:
    assert "[bold]CHEST[/bold] :smile:" in told(a_study(2, "CT [bold]CHEST[/bold] :smile:"))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_long_description_is_folded_into_the_width(width: int) -> None:
    page = told(a_study(2, "CT CHEST " + "W" * 300), width=width)

    assert max(map(len, page.splitlines())) <= width
    assert "".join(page.split()).count("W") >= 300


def test_a_patient_without_other_studies_is_told_as_such() -> None:
    assert "The patient has no other study." in told()


def test_a_study_without_date_or_description_says_so() -> None:
    page = told(a_study(2, "", on=""), current=a_study(1, "", on=""))

    assert page.startswith("no date no description\n")
    assert "read as regions unknown (unknown), modality unknown (unknown)" in page


def test_a_doubtful_study_is_listed_with_the_field_that_contradicts() -> None:
    page = told(
        a_study(2, "CT CHEST", patient_sex="M"), current=a_study(1, "CT CHEST", patient_sex="F")
    )

    assert "doubtful, not warmed (" in page
    assert "sex" in page.casefold()


def test_what_new_rules_change_is_told_by_name_and_place() -> None:
    page = told(FILM, SCAN, rules=NEVER_XR)

    assert "left out: rule no films: never" in page
    assert "What new.toml changes against old.toml\n  leaves: 2024-01-01 XR CHEST 2V [XR]" in page
    assert "\n    1.2.2\n" in page


def test_a_change_that_changes_nothing_says_nothing() -> None:
    assert told(SCAN, rules=NEVER_XR).endswith(
        "What new.toml changes against old.toml\n  nothing\n"
    )


def test_a_current_study_that_does_not_fit_is_said_to_be_cut() -> None:
    page = StringIO()
    explained = explain(CURRENT, [], rules=DEFAULT, budget_bytes=1)

    tell(Console(file=page, width=80), explained)

    assert "not whole in the plan: budget: " in page.getvalue()
