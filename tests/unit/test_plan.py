"""domain.plan: whole series in order, within the budget, and nothing lost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.explain import document_of, effect, explain, fate_of
from teleprefetch.domain.plan import affordable_bytes, plan_warming
from teleprefetch.domain.relevance import rank_priors
from teleprefetch.domain.rules import DEFAULT_RULES, SiteRules, WarmRule
from teleprefetch.domain.sizes import sizes_of, study_bytes
from teleprefetch.model import PatientKey, Plan, SeriesPointer, SeriesRecord, StudyRecord

CT_INSTANCE_BYTES = 530_000


def a_study(
    uid: str,
    description: str = "CT CHEST",
    *,
    on: str = "20230101",
    series: tuple[int, ...] = (10,),
    modality: str = "CT",
    **fields,
) -> StudyRecord:
    fields.setdefault("patient", PatientKey(patient_id="P"))
    return StudyRecord(
        study_instance_uid=uid,
        study_description=description,
        study_date=on,
        modalities_in_study=(modality,),
        series=tuple(
            SeriesRecord(
                pointer=SeriesPointer(
                    study_instance_uid=uid, series_instance_uid=f"{uid}.{number}"
                ),
                modality=modality,
                series_number=number,
                number_of_instances=instances,
            )
            for number, instances in enumerate(series, 1)
        ),
        **fields,
    )


CURRENT = a_study("1.2.1", on="20240101")


def a_plan(
    *priors: StudyRecord,
    budget_instances: float = 1000,
    rules: SiteRules = DEFAULT_RULES,
    current: StudyRecord = CURRENT,
) -> Plan:
    return plan_warming(
        current,
        rank_priors(current, priors, rules=rules, now=None),
        prefetch_id="one",
        origin_id="archive",
        budget_bytes=int(budget_instances * CT_INSTANCE_BYTES),
        rules=rules,
    )


def the_series_of(plan: Plan) -> list[str]:
    return [one.series.series_instance_uid for one in plan.series]


def the_reasons_of(plan: Plan) -> dict[str, str]:
    return {one.study_instance_uid: one.reason for one in plan.left_out}


def test_the_current_study_comes_first_and_priors_follow_in_their_rank() -> None:
    plan = a_plan(a_study("1.3.1", on="20200101"), a_study("1.3.2", on="20231201"))

    assert the_series_of(plan) == ["1.2.1.1", "1.3.2.1", "1.3.1.1"]
    assert [(one.role, one.rank) for one in plan.series] == [
        ("current", 0),
        ("prior", 1),
        ("prior", 2),
    ]
    assert plan.series[0].estimated_bytes == 10 * CT_INSTANCE_BYTES
    assert plan.priors[0].reasons[0] == "same region CHEST +60"


def test_series_go_by_their_number_and_unnumbered_and_secondary_ones_last() -> None:
    study = a_study("1.3.1", series=(1, 1, 1))
    one, two, three = study.series
    shuffled = (
        three.model_copy(update={"series_number": None}),
        one.model_copy(update={"is_primary": False}),
        two,
    )

    plan = a_plan(study.model_copy(update={"series": shuffled}))

    assert the_series_of(plan)[1:] == ["1.3.1.2", "1.3.1.3", "1.3.1.1"]


def test_a_current_study_that_does_not_fit_is_taken_as_far_as_it_fits_and_says_so() -> None:
    current = a_study("1.2.1", on="20240101", series=(10, 10, 10))

    plan = a_plan(a_study("1.3.1"), current=current, budget_instances=25)

    assert the_series_of(plan)[:2] == ["1.2.1.1", "1.2.1.2"]
    assert the_reasons_of(plan)["1.2.1"] == "budget: 1 of 3 series of the current study"


def test_a_prior_that_does_not_fit_is_passed_over_and_taken_in_part_at_the_very_end() -> None:
    large = a_study("1.3.1", on="20231201", series=(5, 100))
    small = a_study("1.3.2", on="20200101", series=(10,))

    plan = a_plan(large, small, budget_instances=30)

    assert the_series_of(plan) == ["1.2.1.1", "1.3.2.1", "1.3.1.1"]
    assert the_reasons_of(plan) == {"1.3.1": "partial: 1 of 2 series fit in the budget"}
    assert all(prior.taken for prior in plan.priors)


def test_what_is_below_the_floor_or_doubtful_is_left_out_with_its_reason() -> None:
    current = CURRENT.model_copy(update={"patient_sex": "F"})

    plan = a_plan(
        a_study("1.3.1", "XR KNEE LT", modality="CR"),
        a_study("1.3.2", patient_sex="M"),
        current=current,
    )

    reasons = the_reasons_of(plan)
    assert reasons["1.3.1"].startswith("below the floor")
    assert reasons["1.3.2"] == "doubtful: PatientSex differs"
    assert [prior.study_instance_uid for prior in plan.priors] == ["1.3.1"]
    assert the_series_of(plan) == ["1.2.1.1"]


def test_a_site_limits_number_age_modality_and_may_say_never() -> None:
    priors = [a_study(f"1.3.{year}", on=f"{year}0101") for year in (2010, 2020, 2021, 2022, 2023)]
    radiograph = a_study("1.3.1", "XR CHEST", modality="CR", on="20230601")
    rule = WarmRule(
        name="chest", current_region="CHEST", max_number=2, max_age_days=1500, same_modality=True
    )

    plan = a_plan(*priors, radiograph, rules=SiteRules(warm=(rule,)))

    assert the_series_of(plan)[1:] == ["1.3.2023.1", "1.3.2022.1"]
    assert set(the_reasons_of(plan).values()) == {
        "rule chest: at most 2",
        "rule chest: older than 1500 days",
        "rule chest: same modality only",
    }
    never = WarmRule(name="none", prior_modality="CT", never=True)
    assert the_reasons_of(a_plan(priors[0], rules=SiteRules(warm=(never,)))) == {
        "1.3.2010": "rule none: never"
    }


def test_the_oldest_relevant_prior_is_kept_beyond_age_and_number_if_the_site_says_so() -> None:
    priors = [a_study(f"1.3.{year}", on=f"{year}0101") for year in (2010, 2020, 2023)]
    rule = WarmRule(name="oldest", max_number=1, max_age_days=400, oldest=True)

    plan = a_plan(*priors, rules=SiteRules(warm=(rule,)))

    taken = {prior.study_instance_uid for prior in plan.priors if prior.taken}
    assert taken == {"1.3.2010", "1.3.2023"}
    assert the_reasons_of(plan).keys() == {"1.3.2020"}


def test_a_rule_about_another_region_or_modality_limits_nothing() -> None:
    rules = SiteRules(
        warm=(
            WarmRule(name="abdomen", current_region="ABDOMEN", never=True),
            WarmRule(name="ultrasound", prior_modality="US", never=True),
        )
    )

    assert the_reasons_of(a_plan(a_study("1.3.1"), rules=rules)) == {}


drawn_priors = st.lists(
    st.tuples(
        st.sampled_from(["CT CHEST", "XR KNEE LT", "OUTSIDE FILMS", "", "CT C_A_P"]),
        st.lists(st.integers(0, 400), max_size=4),
        st.sampled_from(["", "F", "M"]),
    ),
    max_size=12,
)


@given(
    drawn=drawn_priors,
    current=st.lists(st.integers(0, 300), max_size=4),
    budget_bytes=st.integers(1, 600_000_000),
    rules=st.sampled_from(
        [DEFAULT_RULES, SiteRules(warm=(WarmRule(name="two", max_number=2),), warm_doubtful=True)]
    ),
)
def test_the_budget_holds_and_every_candidate_is_taken_or_partial_or_left_out(
    drawn, current, budget_bytes, rules
) -> None:
    study = a_study("1.2.1", on="20240101", series=tuple(current), patient_sex="F")
    candidates = [
        a_study(f"1.3.{n}", text, series=tuple(series), patient_sex=sex)
        for n, (text, series, sex) in enumerate(drawn, 1)
    ]
    ranking = rank_priors(study, candidates, rules=rules, now=None)

    plan = plan_warming(
        study,
        ranking,
        prefetch_id="one",
        origin_id="archive",
        budget_bytes=budget_bytes,
        rules=rules,
    )

    assert sum(one.estimated_bytes for one in plan.series) <= budget_bytes
    reasons = the_reasons_of(plan)
    whole = {p.study_instance_uid for p in plan.priors if p.taken} - reasons.keys()
    partial = {uid for uid, reason in reasons.items() if reason.startswith("partial")}
    left_out = reasons.keys() - partial - {"1.2.1"}
    assert len(plan.left_out) == len(reasons)
    assert whole | partial | left_out == {one.study_instance_uid for one in candidates}
    assert not whole & left_out
    planned = the_series_of(plan)
    assert len(planned) == len(set(planned))
    for one in candidates:
        uids = {series.pointer.series_instance_uid for series in one.series}
        if one.study_instance_uid in whole:
            assert uids <= set(planned)
        if one.study_instance_uid in left_out:
            assert not uids & set(planned)


def test_a_patient_with_many_priors_gets_each_modality_before_a_tenth_of_one() -> None:
    priors = [a_study(f"1.3.{n}", on=f"2023{1 + n % 12:02}{1 + n % 28:02}") for n in range(1, 219)]
    film = a_study("1.4.1", "XR CHEST 2V", modality="CR", series=(2,), on="20190101")

    plan = a_plan(*priors, film, budget_instances=150)

    assert "1.4.1" in {prior.study_instance_uid for prior in plan.priors[:10] if prior.taken}


def test_a_deadline_shortens_the_budget() -> None:
    assert affordable_bytes(budget_bytes=100, seconds_s=2, link_bytes_per_s=10) == 20
    assert affordable_bytes(budget_bytes=100, seconds_s=99, link_bytes_per_s=10) == 100
    assert affordable_bytes(budget_bytes=100, seconds_s=-1, link_bytes_per_s=10) == 0


def test_sizes_count_instances_and_share_a_median_study_where_they_are_not_counted() -> None:
    counted, report = a_study("1.3.1", series=(3,)), a_study("1.3.2", series=(1,), modality="SR")
    uncounted = a_study("1.3.3", series=(0, 0))

    assert sizes_of(counted) == (3 * CT_INSTANCE_BYTES,)
    assert sizes_of(report) == (110_000,)
    assert sizes_of(uncounted) == (72_500_000, 72_500_000)
    assert study_bytes(a_study("1.3.4", series=())) == 145_000_000
    assert study_bytes(counted) == 3 * CT_INSTANCE_BYTES


def test_an_explanation_tells_what_is_taken_and_what_a_rule_change_would_do() -> None:
    priors = [a_study("1.3.1"), a_study("1.3.2", "XR CHEST", modality="CR", on="20231201")]
    never = SiteRules(warm=(WarmRule(name="films", prior_modality="XR", never=True),))

    now = explain(CURRENT, priors, budget_bytes=600_000_000)
    then = explain(CURRENT, priors, budget_bytes=600_000_000, rules=never)
    change = effect(now, then)

    assert {one.seen.modality: one.fate for one in now.priors} == {"CT": "taken", "XR": "taken"}
    assert {one.fate for one in then.priors} == {"taken", "left out"}
    assert [one.seen.study_instance_uid for one in change.leaves] == ["1.3.2"]
    assert change.enters == ()
    assert [one.seen.study_instance_uid for one in effect(then, now).enters] == ["1.3.2"]
    document: dict[str, Any] = document_of(then)
    assert document["planned_bytes"] == 20 * CT_INSTANCE_BYTES
    assert document["current"]["regions_from"] == "StudyDescription"


def test_an_explanation_lists_doubtful_priors_and_moves() -> None:
    current = CURRENT.model_copy(update={"patient_sex": "F"})
    priors = [a_study("1.3.1", patient_sex="M"), a_study("1.3.2", on="20220101")]

    before = explain(current, priors, budget_bytes=10**9)
    after = explain(current, priors, budget_bytes=10**9, rules=SiteRules(warm_doubtful=True))

    assert [one.reason for one in before.doubtful] == ["PatientSex differs"]
    assert after.doubtful == ()
    assert effect(before, after).moves == (("1.3.2", 1, 2),)
    assert [fate_of(reason) for reason in ("", "partial: 1 of 2", "budget")] == [
        "taken",
        "partial",
        "left out",
    ]


def test_series_that_are_not_counted_share_the_instances_of_their_study() -> None:
    counted = a_study("1", series=(0, 0), number_of_study_related_instances=60)
    uncounted = a_study("1", series=(0, 0))

    assert sizes_of(counted) == (30 * CT_INSTANCE_BYTES,) * 2
    assert sum(sizes_of(uncounted)) == study_bytes(a_study("1", series=()))


def test_each_planned_prior_names_the_rule_that_gave_it_most() -> None:
    plan = a_plan(a_study("1.2.2"), a_study("1.2.3", "XR WRIST", modality="DX"))
    rules = {one.study_instance_uid: one for one in plan.priors}

    assert rules["1.2.2"].rule == "anatomy"
    assert all(one.rule for one in plan.priors)
    assert a_plan().priors == ()
