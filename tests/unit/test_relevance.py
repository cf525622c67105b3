"""domain.relevance: the ranking of priors, its terms and its slots."""

from datetime import date

import pytest

from teleprefetch.domain.relevance import Ranking, rank_priors
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules
from teleprefetch.model import PatientKey, RankedPrior, SeriesPointer, SeriesRecord, StudyRecord


def a_study(description: str = "", *, uid: str = "1.2.1", on: str = "20240101", **fields):
    fields.setdefault("patient", PatientKey(patient_id="P", issuer_of_patient_id="H"))
    return StudyRecord(
        study_instance_uid=uid, study_description=description, study_date=on, **fields
    )


def the_priors_of(current: StudyRecord, *descriptions: str, on: str = "20230101") -> list[str]:
    priors = [a_study(text, uid=f"1.3.{n}", on=on) for n, text in enumerate(descriptions, 1)]
    ranking = rank_priors(current, priors, now=None)
    return [prior.study.study_description for prior in ranking.priors]


def the_only_prior(current: StudyRecord, prior: StudyRecord, **options) -> RankedPrior:
    (only,) = rank_priors(current, [prior], now=None, **options).priors
    return only


def test_the_same_region_comes_before_another_and_every_point_has_a_reason() -> None:
    current = a_study("CT CHEST W CON")

    assert the_priors_of(current, "MRI BRAIN", "XR CHEST 2V")[0] == "XR CHEST 2V"
    prior = the_only_prior(current, a_study("CT THORAX", uid="1.3.1", on="20230401"))
    assert prior.score == pytest.approx(sum(term.points for term in prior.terms))
    assert [term.reason for term in prior.terms][:2] == ["same region CHEST", "CT after CT"]
    assert all(term.reason for term in prior.terms)


@pytest.mark.parametrize(
    ("current", "worth_having", "hardly"),
    [
        ("ECHO TTE", "CT CHEST", "XR CHEST 2V"),
        ("MRI LUMBAR SPINE", "CT ABD/PEL", "US ABDOMEN"),
        ("PET CT SKULL TO THIGH", "CT CHEST", "XR CHEST 2V"),
        ("CTA NECK CAROTID", "CT HEAD WO", "CT ABD/PEL"),
        ("MAM SCREEN BI", "US BREAST LT", "PET CT SKULL TO THIGH"),
        ("XR CHEST 2V", "CT C_A_P", "XR ABDOMEN KUB"),
        ("MRI BRAIN", "CT HEAD", "MRI CERVICAL SPINE"),
        ("US VENOUS LE RT", "US DUPLEX VENOUS LE RT", "US ARTERIAL LE RT"),
        ("XR PELVIS AP", "XR HIP RT W PELVIS", "US PELVIS TRANSVAGINAL"),
        ("DXA HIP AND SPINE", "DEXA SCAN", "XR LUMBAR SPINE"),
    ],
)
def test_what_a_prior_shows_depends_on_its_modality(current, worth_having, hardly) -> None:
    study = a_study(current)

    wanted = the_only_prior(study, a_study(worth_having, uid="1.3.1", on="20230101"))
    unwanted = the_only_prior(study, a_study(hardly, uid="1.3.2", on="20230101"))

    assert wanted.probability > 0.6
    assert unwanted.probability < 0.4


@pytest.mark.parametrize("unknown", ["OUTSIDE FILMS", "", "????", "Untersuchung"])
def test_an_unknown_region_stands_between_the_relevant_and_the_irrelevant(unknown) -> None:
    order = the_priors_of(a_study("CT CHEST"), "XR HAND LT", unknown, "XR CHEST")

    assert order == ["XR CHEST", unknown, "XR HAND LT"]
    prior = the_only_prior(a_study("CT CHEST"), a_study(unknown, uid="1.3.1"))
    assert prior.terms[0].reason == "region of the prior unknown"
    assert prior.probability >= SiteRules().floor


@pytest.mark.parametrize("on", ["", "20150101", "20240101"])
def test_an_unknown_region_is_warmed_and_never_likelier_than_not_by_its_date_alone(on: str) -> None:
    current = a_study("CT CHEST", on="20240102")

    unknown = the_only_prior(current, a_study("OUTSIDE FILMS", uid="1.3.1", on=on))

    assert DEFAULT_RULES.floor <= unknown.probability < 0.5


def test_a_body_part_that_contradicts_the_description_is_not_dropped_silently() -> None:
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid="1.3.1", series_instance_uid="1.3.1.1"),
        body_part_examined="CHEST",
    )
    current = a_study("CT CHEST")

    prior = the_only_prior(current, a_study("CT KNEE LT", uid="1.3.1", series=(series,)))

    assert "BodyPartExamined" in prior.terms[0].reason
    assert SiteRules().floor <= prior.probability < 0.9


def test_a_contradicting_body_part_takes_nothing_from_a_description_that_fits() -> None:
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid="1.3.1", series_instance_uid="1.3.1.1"),
        body_part_examined="KNEE",
    )

    prior = the_only_prior(a_study("CT CHEST"), a_study("CT CHEST", uid="1.3.1", series=(series,)))

    assert prior.terms[0].reason == "same region CHEST"


def test_a_procedure_is_worth_less_than_an_exam_unless_a_procedure_is_planned() -> None:
    exam, biopsy = a_study("US LIVER", uid="1.3.1"), a_study("US LIVER BX", uid="1.3.2")

    assert the_only_prior(a_study("CT LIVER"), exam).score > (
        the_only_prior(a_study("CT LIVER"), biopsy).score
    )
    terms = the_only_prior(a_study("US GUIDED LIVER BIOPSY"), biopsy).terms
    assert "procedure" not in {term.term for term in terms}


@pytest.mark.parametrize(
    ("current", "exam", "biopsy", "line"),
    [
        ("CT CHEST", "US CHEST", "US GUIDED LUNG BIOPSY", "US THORACENTESIS"),
        ("CT ABDOMEN", "US ABDOMEN", "US GUIDED LIVER BIOPSY", "US PARACENTESIS"),
    ],
)
def test_a_needle_under_ultrasound_shows_less_than_an_exam_and_a_drained_fluid_least(
    current: str, exam: str, biopsy: str, line: str
) -> None:
    ranking = rank_priors(
        a_study(current),
        [a_study(text, uid=f"1.3.{n}") for n, text in enumerate((line, biopsy, exam))],
        now=None,
    )

    assert [one.study.study_description for one in ranking.priors] == [exam, biopsy, line]
    assert ranking.priors[1].probability < 0.97
    assert ranking.priors[2].probability < 0.9


def test_a_breast_biopsy_is_opened_with_the_next_mammogram() -> None:
    biopsy = a_study("US BREAST BIOPSY RT", uid="1.3.1")

    assert the_only_prior(a_study("MAM DIAG RT"), biopsy).probability > 0.97


def test_the_body_part_places_a_study_without_description() -> None:
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid="1.3.1", series_instance_uid="1.3.1.1"),
        modality="CT",
        body_part_examined="CHESTABDPELVIS",
    )

    prior = the_only_prior(a_study("CT CHEST"), a_study("", uid="1.3.1", series=(series,)))

    assert prior.probability > 0.95


def test_a_code_that_the_site_knows_is_trusted_before_the_description() -> None:
    rules = SiteRules(procedure_codes={"K71": "CT CHEST"})
    prior = a_study("CT KNEE", uid="1.3.1", procedure_codes=("K71",))

    assert the_only_prior(a_study("CT CHEST"), prior, rules=rules).probability > 0.95
    assert the_only_prior(a_study("CT CHEST"), prior).probability < 0.1


def test_the_current_study_and_duplicates_are_not_priors() -> None:
    current = a_study("CT CHEST")
    prior = a_study("CT CHEST", uid="1.3.1")

    ranking = rank_priors(current, [current, prior, prior], now=None)

    assert [one.study for one in ranking.priors] == [prior]


@pytest.mark.parametrize(
    "on",
    [
        "",
        "0",
        "20241345",
        "abc",
        "99999999",
        "\uff12\uff10\uff12\uff13\uff10\uff11\uff10\uff11",
        "29991231",
    ],
)
def test_a_malformed_or_future_date_costs_only_its_points(on: str) -> None:
    prior = the_only_prior(a_study("CT CHEST"), a_study("CT CHEST", uid="1.3.1", on=on))

    assert prior.probability > 0.95
    assert prior.terms[-1].points == 0


def test_today_stands_for_a_current_study_without_date() -> None:
    current = a_study("CT CHEST", on="")
    prior = a_study("CT CHEST", uid="1.3.1", on="20231201")

    (dated,) = rank_priors(current, [prior], now=date(2024, 1, 1)).priors
    (undated,) = rank_priors(current, [prior], now=None).priors

    assert (dated.terms[-1].reason, undated.terms[-1].reason) == ("1 months old", "date unknown")


def doubtful_if(**fields) -> Ranking:
    known = {"patient_name": "DOE^JANE", "patient_sex": "F", "patient_birth_date": "19700101"}
    patient = PatientKey(patient_id="P")
    current = a_study("CT CHEST", patient=patient, **known)
    prior = a_study("CT CHEST", uid="1.3.1", **{"patient": patient, **known, **fields})
    return rank_priors(current, [prior], now=None)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("patient_sex", "M"),
        ("patient_birth_date", "19700102"),
        ("patient_name", "ROE^RICHARD"),
    ],
)
def test_a_contradiction_makes_a_prior_doubtful_and_names_the_field(field, content) -> None:
    ranking = doubtful_if(**{field: content})

    assert ranking.priors == ()
    assert field.title().replace("_", "") in ranking.doubtful[0].reason
    assert content not in ranking.doubtful[0].reason


@pytest.mark.parametrize(
    "fields",
    [{}, {"patient_sex": ""}, {"patient_sex": "O"}, {"patient_name": "Doe^Jane^Ann"}],
)
def test_a_missing_or_fuller_field_contradicts_nothing(fields) -> None:
    ranking = doubtful_if(**fields)

    assert len(ranking.priors) == 1
    assert ranking.doubtful == ()


def test_another_issuer_or_id_is_another_patient_and_a_common_issuer_settles_it() -> None:
    current = a_study("CT CHEST", patient_sex="F")
    other = PatientKey(patient_id="P", issuer_of_patient_id="ELSEWHERE")
    strangers = [
        a_study("CT CHEST", uid="1.3.1", patient=other),
        a_study("CT CHEST", uid="1.3.2", patient=PatientKey(patient_id="Q")),
    ]

    assert rank_priors(current, strangers, now=None).priors == ()
    (same,) = rank_priors(
        current, [a_study("CT CHEST", uid="1.3.3", patient_sex="M")], now=None
    ).priors
    assert same.rank == 1


def test_a_prior_without_patient_id_is_doubtful() -> None:
    nobody = PatientKey(patient_id=" ")

    ranking = rank_priors(
        a_study("CT CHEST"), [a_study("CT CHEST", uid="1.3.1", patient=nobody)], now=None
    )

    assert ranking.doubtful[0].reason == "PatientID is empty"


def test_a_site_may_rank_doubtful_priors_and_they_still_say_so() -> None:
    patient = PatientKey(patient_id="P")
    current = a_study("CT CHEST", patient=patient, patient_sex="F")
    prior = a_study("CT CHEST", uid="1.3.1", patient=patient, patient_sex="M")

    only = the_only_prior(current, prior, rules=SiteRules(warm_doubtful=True))

    assert only.terms[-1].reason == "doubtful: PatientSex differs"


def test_within_the_relevant_the_newest_of_each_modality_comes_first() -> None:
    current = a_study("CT CHEST")
    dates = ("20230601", "20230501", "20230401")
    priors = [a_study("CT CHEST", uid=f"1.3.{n}", on=on) for n, on in enumerate(dates, 1)]
    priors.append(a_study("XR CHEST 2V", uid="1.3.9", on="20230301"))

    ranking = rank_priors(current, priors, now=None)

    assert [one.study.study_instance_uid for one in ranking.priors][:2] == ["1.3.1", "1.3.9"]


def test_mammography_keeps_two_priors_and_one_of_two_years_ahead_of_newer_ultrasound() -> None:
    current = a_study("MAM SCREEN BI", on="20240101")
    priors = [
        a_study("MAM SCREEN BI", uid=f"1.3.{year}", on=f"{year}0101") for year in range(2012, 2024)
    ]
    priors += [a_study("US BREAST BI", uid=f"1.4.{n}", on=f"20230{n}01") for n in range(1, 7)]

    ranking = rank_priors(current, priors, now=None)

    first = [one.study.study_instance_uid for one in ranking.priors][:2]
    assert first == ["1.3.2023", "1.3.2022"]
    reasons = [term.reason for term in ranking.priors[1].terms]
    assert "mammography: two years or older" in reasons


def test_an_oncology_follow_up_keeps_its_baseline() -> None:
    current = a_study("CT CHEST LUNG CANCER RESTAGING", on="20240101")
    priors = [
        a_study("CT CHEST", uid=f"1.3.{year}", on=f"{year}0101") for year in range(2010, 2024)
    ]

    ranking = rank_priors(current, priors, now=None)

    order = [one.study.study_instance_uid for one in ranking.priors]
    assert order[0] == "1.3.2023"
    assert order.index("1.3.2010") < order.index("1.3.2021")


def test_ten_thousand_words_are_read_in_part_and_at_once() -> None:
    prior = a_study("CT CHEST " + "C A P L R " * 10_000, uid="1.3.1")

    assert the_only_prior(a_study("CT CHEST"), prior).probability > 0.9
