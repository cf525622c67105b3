"""domain.warmth: the notice says what is proven, and what is lacking and why."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.warmth import prove
from tests.builders import NOW, a_plan, a_planned_prior, a_report, a_warmth


def test_warm_means_that_every_planned_frame_is_proven() -> None:
    proof = prove(a_plan(), [a_report(a_warmth("1.2.3", 5, 5), a_warmth("1.2.4", 3, 3))],
                  failure="", now=NOW)  # fmt: skip

    assert (proof.reason, proof.why) == ("warm", "")
    assert [prior.warm for prior in proof.priors] == ["warm"]


def test_partial_says_how_much_is_proven_and_how_long_the_node_has_been_silent() -> None:
    report = a_report(
        a_warmth("1.2.3", 5, 5),
        a_warmth("1.2.4", 1, 3),
        state="warming",
        reported_at=NOW - timedelta(seconds=12),
    )

    proof = prove(a_plan(), [report], failure="deadline reached", now=NOW)

    assert proof.reason == "partial"
    assert proof.why == "deadline reached; 6 of 8 frames proven; node-a last heard 12 s ago"
    assert proof.priors[0].warm == "partial"


def test_no_report_is_cold_and_says_so() -> None:
    proof = prove(a_plan(), [], failure="deadline reached", now=NOW)

    assert (proof.reason, proof.why) == ("cold", "deadline reached; no node has reported")
    assert proof.priors[0].warm == "cold"


def test_no_plan_is_cold_and_keeps_the_failure() -> None:
    proof = prove(None, [], failure="AccessDeniedError: search", now=NOW)

    assert (proof.reason, proof.why) == ("cold", "AccessDeniedError: search; no plan")


def test_a_prior_that_was_left_out_does_not_make_the_study_cold_but_is_listed_with_its_reason(
) -> None:  # fmt: skip
    plan = a_plan(
        priors=(a_planned_prior(taken=False),),
        left_out=({"study_instance_uid": "1.2.4", "reason": "below the floor"},),
    )

    proof = prove(plan, [a_report(a_warmth("1.2.3", 5, 5))], failure="", now=NOW)

    assert proof.reason == "warm"
    assert (proof.priors[0].warm, proof.priors[0].problem) == ("left out", "below the floor")


def test_a_lost_node_does_not_take_away_what_another_has_proven() -> None:
    lost = a_report(a_warmth("1.2.3", 1, 5), node="node-b", state="warming")
    warm = a_report(a_warmth("1.2.3", 5, 5), a_warmth("1.2.4", 3, 3))

    for reports in ([lost, warm], [warm, lost]):
        assert prove(a_plan(), reports, failure="", now=NOW).reason == "warm"


def test_the_problem_of_a_prior_is_told() -> None:
    sick = a_warmth("1.2.4", 0, 0, problem="StudyNotFoundError: series")

    proof = prove(a_plan(), [a_report(a_warmth("1.2.3", 5, 5), sick)], failure="", now=NOW)

    assert proof.reason == "partial"
    assert proof.priors[0].problem == "StudyNotFoundError: series"
    assert "StudyNotFoundError: series" in proof.why


def test_a_study_without_pixels_is_warm_when_its_metadata_is_there() -> None:
    proof = prove(
        a_plan(priors=()), [a_report(a_warmth("1.2.3", 0, 0))], failure="", now=NOW
    )  # fmt: skip

    assert proof.reason == "warm"


@given(
    counts=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted), min_size=2, max_size=2
    ),
    failure=st.sampled_from(["", "deadline reached"]),
)
def test_warm_is_never_said_of_anything_less(counts: list[list[int]], failure: str) -> None:
    (low, planned), (prior_low, prior_planned) = counts
    report = a_report(a_warmth("1.2.3", low, planned), a_warmth("1.2.4", prior_low, prior_planned))

    proof = prove(a_plan(), [report], failure=failure, now=NOW)

    assert (proof.reason == "warm") == (low == planned and prior_low == prior_planned)
    assert (proof.why == "") == (proof.reason == "warm")
