"""domain.relevance: what never happens to a ranking, whatever the priors."""

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from teleprefetch.domain.relevance import rank_priors
from teleprefetch.domain.rules import SiteRules
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord

DESCRIPTIONS = (
    "CT CHEST W CON",
    "XR CHEST 2V",
    "CT ABD/PEL",
    "MRI BRAIN W WO",
    "XR KNEE LT 3V",
    "XR KNEE RT 3V",
    "MAM SCREEN BI",
    "PET CT SKULL TO THIGH",
    "OUTSIDE FILMS",
    "",
)


def a_study(description: str = "", *, uid: str = "1.2.1", on: str = "20240101", **fields):
    fields.setdefault("patient", PatientKey(patient_id="P", issuer_of_patient_id="H"))
    return StudyRecord(
        study_instance_uid=uid, study_description=description, study_date=on, **fields
    )


studies = st.lists(
    st.tuples(
        st.sampled_from(DESCRIPTIONS),
        st.dates(min_value=date(2000, 1, 1), max_value=date(2025, 1, 1)),
    ),
    max_size=25,
)


def _records(drawn) -> list[StudyRecord]:
    return [
        a_study(text, uid=f"1.3.{n}", on=f"{on:%Y%m%d}") for n, (text, on) in enumerate(drawn, 1)
    ]


@given(
    description=st.sampled_from(DESCRIPTIONS[:-2]),
    drawn=studies,
    floor=st.sampled_from([0.0, 0.45]),
)
def test_an_irrelevant_prior_never_changes_the_order_of_the_others(
    description, drawn, floor
) -> None:
    current = a_study(description)
    priors = _records(drawn)
    irrelevant = a_study("XR ELBOW RT 2V", uid="1.9.1")

    before = rank_priors(current, priors, rules=SiteRules(floor=floor), now=None)
    after = rank_priors(current, [irrelevant, *priors], rules=SiteRules(floor=floor), now=None)

    kept = [one.study for one in after.priors if one.study != irrelevant]
    assert kept == [one.study for one in before.priors]


@given(
    site=st.sampled_from(["KNEE", "SHOULDER", "HIP", "BREAST", "HAND", "FOOT", "ANKLE"]),
    kind=st.sampled_from(["XR", "MRI", "CT", "US"]),
    prior_kind=st.sampled_from(["XR", "MRI", "CT", "US", ""]),
    drawn=studies,
    floor=st.sampled_from([0.0, 0.33, 0.6]),
)
def test_the_opposite_side_never_ranks_above_the_same_side(
    site, kind, prior_kind, drawn, floor
) -> None:
    current = a_study(f"{kind} {site} LT")
    same = a_study(f"{prior_kind} {site} LEFT", uid="1.8.2", on="20230101")
    opposite = a_study(f"{prior_kind} {site} RIGHT", uid="1.8.1", on="20230101")

    ranking = rank_priors(
        current, [opposite, *_records(drawn), same], rules=SiteRules(floor=floor), now=None
    )

    order = [one.study.study_instance_uid for one in ranking.priors]
    assert order.index("1.8.2") < order.index("1.8.1")


@settings(max_examples=200)
@given(
    description=st.text(max_size=1100),
    modality=st.text(max_size=6),
    on=st.text(max_size=9),
    body_part=st.text(max_size=30),
    laterality=st.text(max_size=3),
)
def test_no_text_whatever_raises_or_loses_a_prior(
    description, modality, on, body_part, laterality
) -> None:
    series = SeriesRecord(
        pointer=SeriesPointer(study_instance_uid="1.3.1", series_instance_uid="1.3.1.1"),
        modality=modality,
        body_part_examined=body_part,
        laterality=laterality,
    )
    odd = a_study(
        description, uid="1.3.1", on=on, modalities_in_study=(modality,), series=(series,)
    )

    assert len(rank_priors(a_study("CT CHEST"), [odd], now=None).priors) == 1
    turned = odd.model_copy(update={"study_instance_uid": "1.3.2"})
    assert len(rank_priors(odd, [turned], now=None).priors) == 1


@given(drawn=studies)
def test_ranks_count_from_one_and_lose_nobody(drawn) -> None:
    ranking = rank_priors(a_study("CT CHEST"), _records(drawn), now=None)

    assert [one.rank for one in ranking.priors] == list(range(1, len(drawn) + 1))
    assert {one.study.study_instance_uid for one in ranking.priors} == {
        one.study_instance_uid for one in _records(drawn)
    }
