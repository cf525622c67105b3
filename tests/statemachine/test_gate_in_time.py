"""The gate's promise, on the shipped machine in virtual time, whatever fails: released at
min(proven warm, deadline), exactly once, and never called warm when it is not.
"""

import itertools
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleprefetch.errors import OriginUnavailableError
from teleprefetch.steps.admit_assignment import RELEASE_MARGIN_S
from tests.gate_world import ERRORS, START, Case, Faults, GateWorld

MARGIN_S = RELEASE_MARGIN_S + 1  # and the whole second that the wait is rounded down by
FOREVER = 10**6

# each component with what its failure is; the notifier itself is tried further down
COMPONENTS: dict[str, dict[str, Any]] = {
    "admission": {"admit": FOREVER},
    "start of the prefetch": {"start": FOREVER},
    "archive": {"archive_fails": True},
    "node": {"node_dies": True},
    "plan": {"plan_unreadable": True},
    "reports": {"progress_down": True},
    "events of failures": {"failure_event_lost": True},
    "events, sent again": {"duplicates": 2},
}
SUBSETS = [
    subset
    for size in range(len(COMPONENTS) + 1)
    for subset in itertools.combinations(COMPONENTS, size)
]


def seconds(world: GateWorld, case: Case) -> float:
    [(at, _)] = world.released(case)
    return (at - START).total_seconds()


def faults_of(subset: tuple[str, ...]) -> Faults:
    return Faults(**{key: value for name in subset for key, value in COMPONENTS[name].items()})


def test_there_is_a_case_for_each_subset_of_failed_components() -> None:
    assert len(SUBSETS) == 2 ** len(COMPONENTS) == 256


@pytest.mark.parametrize("warm_after_s", [20, 55.5, 57.5, 59.9, 90], ids=lambda s: f"warm at {s} s")
def test_whatever_fails_the_notice_is_out_at_warm_or_deadline_once(warm_after_s: float) -> None:
    cases = [
        Case(number, warm_after_s=warm_after_s, faults=faults_of(subset))
        for number, subset in enumerate(SUBSETS)
    ]
    world = GateWorld(cases).run()

    assert world.false_warm == []
    for case, subset in zip(cases, SUBSETS, strict=True):
        [(_, notice)] = world.released(case)
        out_s = seconds(world, case)
        assert out_s <= case.deadline_s, subset
        hindered = set(subset) - {"events of failures", "events, sent again"}
        if not hindered:
            expected_s = min(warm_after_s, case.deadline_s - MARGIN_S)
            assert abs(out_s - expected_s) <= 1, subset
            assert (notice["reason"] == "warm") == (warm_after_s < case.deadline_s - MARGIN_S + 1)
            assert world.late_warm(case) == (notice["reason"] != "warm")
        if hindered == {"node"}:
            assert abs(out_s - (case.deadline_s - MARGIN_S)) <= 1
            assert notice["reason"] == "partial"


def test_a_stat_study_is_out_at_once_whatever_fails_and_warmed_after_it() -> None:
    cases = [
        Case(number, priority="stat", warm_after_s=30, faults=faults_of(subset))
        for number, subset in enumerate(SUBSETS)
    ]
    world = GateWorld(cases).run()

    assert world.false_warm == []
    for case, subset in zip(cases, SUBSETS, strict=True):
        # admitting is tried three times, then the notice goes out without it
        assert seconds(world, case) <= 4, subset
        if not set(subset) & {"admission", "archive", "node", "plan", "reports"}:
            assert world.late_warm(case) == 1, subset


@st.composite
def troubled(draw: st.DrawFn, number: int = 0) -> Case:
    subset = draw(st.sets(st.sampled_from(sorted(COMPONENTS))))
    faults = faults_of(tuple(subset))
    faults.error = draw(st.sampled_from(ERRORS))
    faults.admit = draw(st.integers(0, 5)) if "admission" in subset else 0
    faults.start = draw(st.integers(0, 5)) if "start of the prefetch" in subset else 0
    faults.release = draw(st.integers(0, 14))
    faults.ends_partial = draw(st.booleans())
    faults.abort_after_s = draw(st.none() | st.floats(0, 70))
    return Case(
        number,
        deadline_s=draw(st.floats(0, 200)),
        warm_after_s=draw(st.floats(1.5, 250)),
        priority=draw(st.sampled_from(["stat", "high", "routine"])),
        faults=faults,
    )


@given(case=troubled(), seed=st.integers(0, 2**16))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_notice_is_out_exactly_once_and_never_falsely_warm(case: Case, seed: int) -> None:
    world = GateWorld([case], seed=seed).run()

    assert len(world.released(case)) == 1
    assert world.late_warm(case) <= 1
    assert world.false_warm == []


def test_a_thousand_assignments_with_random_faults_none_late_none_double_none_falsely_warm() -> (
    None
):
    chance = random.Random(8)  # noqa: S311 - the same each time
    cases = [_random_case(chance, number) for number in range(1000)]

    world = GateWorld(cases, seed=8).run()

    assert {len(world.released(case)) for case in cases} == {1}
    assert world.false_warm == []
    late = [case for case in cases if seconds(world, case) > case.deadline_s]
    on_time = [case for case in cases if not _is_notifier_hindered(case)]
    assert len(on_time) > 500
    assert [case for case in late if case in on_time] == []
    # where the notifier itself fails, it is out within its retries and one round of the watchdog
    for case in late:
        assert seconds(world, case) <= case.deadline_s + 60 + 60
    reasons = {world.released(case)[0][1]["reason"] for case in cases}
    assert reasons == {"warm", "partial", "cold"}


def _is_notifier_hindered(case: Case) -> bool:
    faults = case.faults
    stopped = faults.abort_after_s is not None and faults.failure_event_lost
    return faults.release > 0 or stopped or case.priority == "stat"


def _random_case(chance: random.Random, number: int) -> Case:
    def sometimes(share: float) -> bool:
        return chance.random() < share

    faults = Faults(
        admit=chance.randrange(5) if sometimes(0.1) else 0,
        start=chance.randrange(5) if sometimes(0.1) else 0,
        release=chance.randrange(14) if sometimes(0.2) else 0,
        error=chance.choice([*ERRORS, OriginUnavailableError]),
        archive_fails=sometimes(0.1),
        node_dies=sometimes(0.15),
        ends_partial=sometimes(0.15),
        plan_unreadable=sometimes(0.05),
        progress_down=sometimes(0.05),
        failure_event_lost=sometimes(0.1),
        abort_after_s=chance.uniform(0, 70) if sometimes(0.1) else None,
        duplicates=chance.randrange(3) if sometimes(0.2) else 0,
    )
    return Case(
        number,
        deadline_s=chance.uniform(5, 200),
        warm_after_s=chance.uniform(1.5, 220),
        priority=chance.choice(["stat", "high", "high", "routine"]),
        faults=faults,
    )


def test_a_dead_machine_whose_event_is_lost_is_released_by_the_watchdog_within_a_minute() -> None:
    faults = Faults(abort_after_s=10, failure_event_lost=True, node_dies=True)
    case = Case(1, deadline_s=90, faults=faults)

    world = GateWorld([case]).run()

    assert 10 < seconds(world, case) <= 70
    [(_, notice)] = world.released(case)
    assert notice["why"].startswith("States.ABORTED")


def test_a_machine_that_never_ends_is_released_by_the_watchdog_at_its_deadline() -> None:
    case = Case(1, deadline_s=90, faults=Faults(node_dies=True))
    world = GateWorld([case])
    world.machine.answer = lambda token, output: False  # type: ignore[method-assign]
    world.machine._wake = lambda execution, generation: None  # type: ignore[method-assign]
    world._admit({"event": world.machine.executions[0].given, "execution_id": "hanging"})

    world.run()

    [(at, notice)] = world.released(case)
    assert at == START + timedelta(seconds=120)
    assert notice["why"].startswith("deadline reached")
