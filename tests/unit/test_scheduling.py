"""The order of a node's fetches: urgency, use, fair shares, and nobody waits for ever."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from teleprefetch.domain.scheduling import Band, Lane, Operation, Schedule, Turn, Urgency

NEVER = 10**9
A, B = "patient a", "patient b"


def turn(
    *,
    urgency: Urgency = Urgency.HIGH,
    tenant: str = "store",
    operation: Operation = Operation.FRAME,
    patient: str = A,
    band: Band = Band.OPENING,
    position: int = 0,
    due_s: float = math.inf,
    size_bytes: int = 0,
) -> Turn:
    return Turn(
        urgency=urgency,
        lane=Lane(tenant, operation),
        patient=patient,
        band=band,
        position=position,
        due_s=due_s,
        size_bytes=size_bytes,
    )


def taken(schedule: Schedule[str], count: int | None = None, *, now_s: float = 0.0) -> list[str]:
    found: list[str] = []
    while count is None or len(found) < count:
        job = schedule.take(now_s=now_s)
        if job is None:
            break
        found.append(job)
    return found


def strict() -> Schedule[str]:
    """A schedule that never turns to what has waited longest."""
    return Schedule(longest_waiting_every=NEVER)


def test_stat_goes_before_high_and_high_before_routine() -> None:
    schedule = strict()
    for urgency in (Urgency.ROUTINE, Urgency.STAT, Urgency.HIGH):
        schedule.add(urgency.name, turn(urgency=urgency))
    assert taken(schedule) == ["STAT", "HIGH", "ROUTINE"]


def test_openings_of_all_go_before_the_rest_of_any_and_priors_after_current_studies() -> None:
    schedule = strict()
    for number, (patient, band) in enumerate(
        (patient, band) for patient in (A, B) for band in reversed(Band)
    ):
        schedule.add(f"{patient} {band.name}", turn(patient=patient, band=band, position=number))
    bands = [job.rsplit(" ", 1)[1] for job in taken(schedule)]
    assert bands == [band.name for band in Band for _ in range(2)]


def test_of_one_patient_metadata_go_before_frames() -> None:
    schedule = strict()
    for number in range(3):
        schedule.add(f"frame {number}", turn(position=number))
        schedule.add(f"meta {number}", turn(operation=Operation.METADATA, position=number))
    assert taken(schedule, 1) == ["meta 0"]


@pytest.mark.parametrize("big", ["219 priors", "4,000 frames"])
def test_a_big_patient_delays_anothers_first_frames_by_at_most_one_frame(big: str) -> None:
    schedule = strict()
    band = Band.OPENING if big == "219 priors" else Band.CURRENT
    for number in range(4000):
        schedule.add(f"a {number}", turn(patient=A, band=band, position=number, due_s=10))
    taken(schedule, 500)
    for number in range(3):
        schedule.add(f"b {number}", turn(patient=B, position=number, due_s=500))
    first = taken(schedule, 4)
    assert sum(job.startswith("b ") for job in first) == 3, first


def test_metadata_of_a_big_patient_do_not_hold_up_anothers_frames() -> None:
    schedule = strict()
    for number in range(876):
        metadata = turn(patient=A, operation=Operation.METADATA, position=number)
        schedule.add(f"a {number}", metadata)
    taken(schedule, 100)
    schedule.add("b", turn(patient=B))
    assert "b" in taken(schedule, 2)


def test_patients_whose_notices_are_due_together_take_turns() -> None:
    schedule = strict()
    for number in range(100):
        for patient in (A, B):
            job = turn(patient=patient, band=Band.CURRENT, position=number, due_s=100)
            schedule.add(f"{patient} {number}", job)
    assert Counter(job[:9] for job in taken(schedule, 40)) == {A: 20, B: 20}


def test_the_sooner_notice_goes_first() -> None:
    schedule = strict()
    schedule.add("late", turn(patient=A, band=Band.CURRENT, due_s=500))
    schedule.add("soon", turn(patient=B, band=Band.CURRENT, due_s=50))
    assert taken(schedule) == ["soon", "late"]


def test_what_cannot_be_in_time_any_more_goes_after_what_can() -> None:
    schedule = strict()
    schedule.add("over", turn(patient=A, band=Band.CURRENT, due_s=50))
    schedule.add("can", turn(patient=B, band=Band.CURRENT, due_s=500))
    assert taken(schedule, now_s=100) == ["can", "over"]


def test_a_second_more_urgent_turn_moves_a_job_forward() -> None:
    schedule = strict()
    for number in range(10):
        schedule.add(str(number), turn(urgency=Urgency.ROUTINE, position=number))
    schedule.add("7", turn(urgency=Urgency.STAT))
    assert taken(schedule)[:2] == ["7", "0"]
    assert len(schedule) == 0


def test_a_sooner_notice_of_the_same_patient_moves_it_forward() -> None:
    schedule = strict()
    schedule.add("a", turn(patient=A, band=Band.CURRENT, due_s=900))
    schedule.add("b", turn(patient=B, band=Band.CURRENT, due_s=500))
    schedule.add("a sooner", turn(patient=A, band=Band.CURRENT, due_s=50, position=9))
    assert taken(schedule) == ["a sooner", "b", "a"]


def test_a_lane_without_quota_holds_up_no_other() -> None:
    schedule = strict()
    schedule.add("meta", turn(operation=Operation.METADATA))
    schedule.add("frame", turn(band=Band.PRIORS))
    is_open = lambda lane: lane.operation is Operation.FRAME  # noqa: E731
    assert schedule.take(now_s=0, is_open=is_open) == "frame"
    assert schedule.take(now_s=0, is_open=is_open) is None
    assert schedule.take(now_s=0) == "meta"


turns = st.builds(
    turn,
    urgency=st.sampled_from([Urgency.STAT, Urgency.HIGH, Urgency.ROUTINE]),
    tenant=st.sampled_from(["x", "y"]),
    operation=st.sampled_from(Operation),
    patient=st.sampled_from([A, B, "c", "d"]),
    band=st.sampled_from(Band),
    position=st.integers(0, 20),
    due_s=st.one_of(st.just(math.inf), st.floats(0, 400)),
    size_bytes=st.integers(0, 30_000_000),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 60), turns),
        st.tuples(st.just("take"), st.integers(0, 60), turns),
        st.tuples(st.just("discard"), st.integers(0, 60), turns),
    ),
    max_size=150,
)


def level_at(one: Turn, number: int) -> tuple[int, int]:
    """A turn's level at a step; what is too late for its notice by then is put off."""
    is_late = one.due_s // 30 < 3.0 * number // 30
    return one.put_off().level if is_late and one.can_be_put_off else one.level


@given(steps)
def test_whatever_happens_each_job_is_taken_exactly_once_and_the_most_urgent_first(
    steps: list[tuple[str, int, Turn]],
) -> None:
    schedule: Schedule[int] = Schedule(longest_waiting_every=NEVER)
    queued: dict[int, Turn] = {}
    for number, (what, job, at) in enumerate(steps):
        if what == "add":
            schedule.add(job, at)
            queued[job] = at
        elif what == "discard":
            schedule.discard(job)
            queued.pop(job, None)
        else:
            found = schedule.take(now_s=3.0 * number)
            assert (found is None) == (not queued)
            if found is not None:
                assert level_at(queued[found], number) == min(
                    level_at(one, number) for one in queued.values()
                )
                del queued[found]
        assert len(schedule) == len(queued)
    rest = [schedule.take(now_s=999) for _ in range(len(queued))]
    assert sorted(queued) == sorted(job for job in rest if job is not None)
    assert schedule.take(now_s=999) is None


@given(st.lists(turns, min_size=1, max_size=20), turns, st.integers(2, 8))
def test_nothing_waits_for_ever(before: list[Turn], last: Turn, every: int) -> None:
    """However much that is more urgent comes all the time; except what is too late anyway."""
    assume(last.band is not Band.TOO_LATE)
    last = replace(last, due_s=max(last.due_s, 1000.0))
    schedule: Schedule[str] = Schedule(longest_waiting_every=every)
    for number, one in enumerate(before):
        schedule.add(f"before {number}", one)
    schedule.add("it", last)
    for number in range(every * (len(before) + 1)):
        urgent = turn(urgency=Urgency.STAT, patient=f"new {number}", tenant="z", due_s=1)
        schedule.add(f"new {number}", urgent)
        if schedule.take(now_s=0) == "it":
            return
    raise AssertionError("it still waits")


@settings(deadline=None)
@given(st.lists(st.integers(1, 5_000_000), min_size=20, max_size=20), st.integers(1, 5_000_000))
def test_tenants_that_both_have_work_get_the_same_bytes(sizes: list[int], size: int) -> None:
    schedule = strict()
    for number, one in enumerate(sizes):
        schedule.add(f"x {number} {one}", turn(tenant="x", size_bytes=one, position=number))
    for number in range(200):
        schedule.add(f"y {number} {size}", turn(tenant="y", size_bytes=size, position=number))
    had: Counter[str] = Counter()
    while had["x"] < sum(sizes):
        job = schedule.take(now_s=0)
        if job is None:
            break
        who, _, cost = job.split()
        had[who] += int(cost)
        if had["x"] < sum(sizes) and had["y"] < 200 * size:
            assert abs(had["x"] - had["y"]) <= max(sizes) + size


@given(st.integers(1, 40), st.integers(1, 5))
def test_a_newcomers_openings_wait_for_one_frame_each_at_most(others: int, wanted: int) -> None:
    """Of many patients with much under way, those who had least go first."""
    schedule = strict()
    for other in range(others):
        for number in range(50):
            schedule.add(f"o {other} {number}", turn(patient=f"o {other}", position=number))
    taken(schedule, others * (wanted + 1))
    for number in range(wanted):
        schedule.add(f"new {number}", turn(patient="new", position=number))
    assert all(job.startswith("new") for job in taken(schedule, wanted))


def test_what_is_remembered_of_patients_stays_bounded() -> None:
    schedule = strict()
    for number in range(20_000):
        schedule.add("job", turn(patient=f"p {number}", band=Band(number % 3)))
        schedule.take(now_s=0)
    (lane,) = schedule._lanes.values()
    assert len(lane._by_age) < 10_000
    assert sum(len(one._accounts) for one in schedule._patients.values()) < 20_000
    assert sum(len(one._flows) + len(one._heap) for one in lane._levels.values()) < 20_000
