"""Which orders get a place, which wait, and which are told that waiting is in vain."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.admission import Claim, Line
from teleprefetch.domain.scheduling import Urgency


def claim(
    urgency: Urgency = Urgency.HIGH,
    tenant: str = "store",
    due_s: float = math.inf,
    current_bytes: int = 0,
) -> Claim:
    return Claim(urgency, tenant, due_s, current_bytes)


def line(places: int, *, most_waiting: int = 100) -> Line[str]:
    return Line(places, most_waiting=most_waiting)


def test_the_most_urgent_gets_the_place_and_then_whose_notice_is_due_first() -> None:
    orders = line(1)
    orders.add("first", claim())
    assert orders.admitted() == ["first"]
    orders.add("routine", claim(Urgency.ROUTINE, due_s=10))
    orders.add("later", claim(due_s=90))
    orders.add("sooner", claim(due_s=50))
    got = []
    for _ in range(3):
        orders.leave(got[-1] if got else "first", now_s=0.0)
        got += orders.admitted()
    assert got == ["sooner", "later", "routine"]


def test_a_stat_order_never_waits() -> None:
    orders = line(1)
    for name in ("a", "b"):
        orders.add(name, claim())
    assert orders.admitted() == ["a"]
    orders.add("stat", claim(Urgency.STAT))
    assert orders.admitted() == ["stat"]
    orders.leave("stat", now_s=0.0)
    assert orders.admitted() == []
    orders.leave("a", now_s=0.0)
    assert orders.admitted() == ["b"]


def test_tenants_take_turns_however_many_orders_one_has() -> None:
    orders = line(4)
    for number in range(20):
        orders.add(f"big {number}", claim(tenant="big", due_s=number))
    for number in range(2):
        orders.add(f"small {number}", claim(tenant="small", due_s=900))
    assert Counter(name.split()[0] for name in orders.admitted()) == {"big": 2, "small": 2}


def test_an_order_whose_notice_is_out_is_told_so() -> None:
    orders = line(1)
    orders.add("a", claim())
    orders.admitted()
    orders.add("late", claim(due_s=5))
    orders.add("in time", claim(due_s=500))
    assert orders.in_vain(10.0, None) == ["late"]
    assert orders.waiting == 1


def test_an_order_that_would_begin_too_late_for_its_current_study_is_told_so() -> None:
    orders = line(1)
    for number in range(5):
        orders.add(f"{number}", claim(due_s=1000))
        orders.admitted()
        orders.leave(f"{number}", now_s=10.0 * number)  # a place in ten seconds
    orders.add("under way", claim(due_s=1000))
    orders.admitted()
    orders.add("x", claim(due_s=60, current_bytes=3000))
    assert orders.in_vain(50.0, 100.0) == ["x"], "it takes 30 s, and 10 are left"
    orders.add("y", claim(due_s=90, current_bytes=3000))
    assert orders.in_vain(50.0, 100.0) == []


def test_who_stands_last_in_a_full_line_is_told_so_and_it_is_the_least_urgent() -> None:
    orders = line(1, most_waiting=3)
    orders.add("under way", claim())
    orders.admitted()
    orders.add("routine", claim(Urgency.ROUTINE, due_s=20))
    for number in range(3):
        orders.add(f"high {number}", claim(due_s=900))
    assert orders.in_vain(0.0, None) == ["routine"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "leave", "look"]),
        st.integers(0, 30),
        st.builds(
            claim,
            urgency=st.sampled_from([Urgency.STAT, Urgency.HIGH, Urgency.ROUTINE]),
            tenant=st.sampled_from("abc"),
            due_s=st.one_of(st.just(math.inf), st.floats(0, 300)),
            current_bytes=st.integers(0, 10**9),
        ),
    ),
    max_size=80,
)


@given(steps, st.integers(1, 5), st.integers(0, 8))
def test_each_order_gets_a_place_or_an_answer_and_places_are_never_exceeded(
    steps: list[tuple[str, int, Claim]], places: int, most_waiting: int
) -> None:
    orders = line(places, most_waiting=most_waiting)
    waiting: dict[str, Claim] = {}
    under_way: dict[str, Claim] = {}
    for number, (what, which, made) in enumerate(steps):
        now_s = 2.0 * number
        if what == "add":
            name = f"{number}"
            orders.add(name, made)
            waiting[name] = made
        elif what == "leave" and under_way:
            name = sorted(under_way)[which % len(under_way)]
            orders.leave(name, now_s)
            del under_way[name]
        for name in orders.admitted():
            under_way[name] = waiting.pop(name)
        for name in orders.in_vain(now_s, 1e6):
            del waiting[name]
        assert orders.waiting == len(waiting) <= most_waiting
        normal = [one for one in under_way.values() if one.urgency is not Urgency.STAT]
        assert len(normal) <= places
        assert not any(one.urgency is Urgency.STAT for one in waiting.values())
        assert not waiting or len(normal) == places
