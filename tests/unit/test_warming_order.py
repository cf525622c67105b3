from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.warming_order import frame_order, series_order
from teleprefetch.model import PlannedSeries, Role, SeriesPointer


def planned(role: Role, rank: int) -> PlannedSeries:
    pointer = SeriesPointer(study_instance_uid="1.2", series_instance_uid="1.3")
    return PlannedSeries(role=role, rank=rank, series=pointer, estimated_bytes=1)


series = st.one_of(
    st.just(planned("current", 0)),
    st.integers(1, 5).map(lambda rank: planned("prior", rank)),
)
plans = st.lists(st.tuples(series, st.integers(0, 12)), max_size=8)


@given(plans)
def test_each_frame_is_fetched_exactly_once(plan):
    order = frame_order([one for one, _ in plan], [count for _, count in plan])
    expected = [(at, frame) for at, (_, count) in enumerate(plan) for frame in range(count)]
    assert sorted(order) == expected


@given(plans)
def test_each_series_metadata_is_fetched_exactly_once_and_the_current_study_first(plan):
    order = series_order([one for one, _ in plan])
    assert sorted(order) == list(range(len(plan)))
    ranks = [plan[at][0].rank for at in order]
    assert ranks == sorted(ranks)


@given(plans)
def test_first_frames_of_all_come_before_any_other_frame(plan):
    order = frame_order([one for one, _ in plan], [count for _, count in plan])
    is_first = [frame == 0 for _, frame in order]
    assert is_first == sorted(is_first, reverse=True)


@given(plans)
def test_the_current_study_ends_before_any_priors_tail_and_priors_go_by_rank(plan):
    order = frame_order([one for one, _ in plan], [count for _, count in plan])
    tail_ranks = [plan[at][0].rank for at, frame in order if frame]
    assert tail_ranks == sorted(tail_ranks)


def test_the_middle_and_the_last_frame_go_ahead_of_the_rest():
    assert [frame for _, frame in frame_order([planned("current", 0)], [7])] == [
        0, 3, 6, 1, 2, 4, 5,
    ]  # fmt: skip
