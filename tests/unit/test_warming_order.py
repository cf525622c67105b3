from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.scheduling import Band
from teleprefetch.domain.warming_order import FramesToAsk, WarmingOrder, frame_order, series_order
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


def opening_frames(count: int) -> set[int]:
    return {0, count // 2, count - 1}


@given(plans)
def test_first_middle_and_last_frames_of_all_come_before_the_rest_of_any(plan):
    order = frame_order([one for one, _ in plan], [count for _, count in plan])
    is_rest = [frame not in opening_frames(plan[at][1]) for at, frame in order]
    assert is_rest == sorted(is_rest)


@given(plans)
def test_the_current_study_ends_before_any_priors_rest_and_priors_go_by_rank(plan):
    order = frame_order([one for one, _ in plan], [count for _, count in plan])
    ranks = [plan[at][0].rank for at, frame in order if frame not in opening_frames(plan[at][1])]
    assert ranks == sorted(ranks)


@given(plans, st.randoms())
def test_whatever_metadata_come_first_what_is_known_is_asked_for_in_order(plan, chance):
    """Positions of series that are known later fit in between."""
    planned, counts = [one for one, _ in plan], [count for _, count in plan]
    order, to_ask, asked, known = WarmingOrder(planned), FramesToAsk(), [], []
    arriving = list(range(len(plan)))
    chance.shuffle(arriving)
    for at in arriving:
        known.extend(order.frames(at, counts[at]))
        to_ask.add(order.frames(at, counts[at]))
        if to_ask:
            asked.append(to_ask.take())
            assert asked[-1] == min(known)
            known.remove(asked[-1])
    while to_ask:
        asked.append(to_ask.take())
    assert sorted((place.at, place.frame) for place in asked) == sorted(
        frame_order(planned, counts)
    )


def test_what_one_order_may_put_ahead_of_others_rest_is_bounded():
    order = WarmingOrder([planned("prior", number + 1) for number in range(219)])
    places = [*order.metadata(), *(one for at in range(219) for one in order.frames(at, 9))]
    assert sum(place.band is Band.OPENING for place in places) == 32 * 4


def test_the_middle_and_the_last_frame_go_ahead_of_the_rest():
    assert [frame for _, frame in frame_order([planned("current", 0)], [7])] == [
        0, 3, 6, 1, 2, 4, 5,
    ]  # fmt: skip
