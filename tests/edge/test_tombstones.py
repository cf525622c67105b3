import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleprefetch.edge.store.tombstones import Tombstones

NAME = "ab" * 20


def name(number):
    return f"{number:040x}"


@pytest.fixture
def open_tombstones(tmp_path):
    opened = []

    def open_one(**options):
        opened.append(Tombstones(tmp_path / "tombstones", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_what_is_below_a_version_is_gone_and_what_is_deleted_is_gone_in_all(open_tombstones):
    stones = open_tombstones()
    assert not stones.covers(NAME, 0)
    stones.add(NAME, 3)
    assert [stones.covers(NAME, version) for version in (1, 2, 3, 4)] == [True, True, False, False]
    stones.add(NAME, 2)
    assert stones.covers(NAME, 2)
    stones.add(NAME, None)
    stones.add(NAME, 9)
    assert stones.covers(NAME, 1 << 40)


def test_another_process_sees_a_tombstone_at_once_and_so_does_the_next_start(open_tombstones):
    one, other = open_tombstones(), open_tombstones()
    one.add(NAME, None)
    assert other.covers(NAME, 5)
    other.add(name(7), 2)
    assert one.covers(name(7), 1)
    assert open_tombstones().covers(NAME, 5)


def test_the_file_takes_its_room_when_it_is_made(open_tombstones, tmp_path):
    stones = open_tombstones()
    before = (tmp_path / "tombstones").stat()
    for number in range(100):
        stones.add(name(number), number)
    after = (tmp_path / "tombstones").stat()
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    assert before.st_blocks * 512 >= before.st_size


@pytest.mark.parametrize("place", [64, 64 + 9, 64 + 30, 64 * 2 + 5])
def test_a_damaged_record_hides_none_of_the_others(open_tombstones, tmp_path, place):
    stones = open_tombstones()
    for number in range(5):
        stones.add(name(number), None)
    with (tmp_path / "tombstones").open("r+b") as file:
        file.seek(place)
        file.write(b"\x77")
    again = open_tombstones()
    lost = {place // 64 - 1}
    assert {number for number in range(5) if not again.covers(name(number), 1)} == lost
    again.add(name(8), None)
    assert open_tombstones().covers(name(8), 1)
    assert open_tombstones().covers(name(4), 1)


def test_a_full_file_is_written_anew_without_what_no_event_can_revive(open_tombstones):
    now = [0.0]
    stones, other = open_tombstones(clock_s=lambda: now[0]), open_tombstones()
    for number in range(2000):
        stones.add(name(number), None)
    now[0] = 31 * 86_400.0
    for number in range(2000, 2100):
        stones.add(name(number), None)
    assert stones.covers(name(2050), 1)
    assert not stones.covers(name(5), 1)
    assert other.covers(name(2050), 1)
    other.add(name(3000), None)
    assert stones.covers(name(3000), 1)
    assert open_tombstones().covers(name(2099), 1)


def test_more_living_tombstones_than_fit_make_the_file_grow(open_tombstones, tmp_path):
    stones = open_tombstones()
    size = (tmp_path / "tombstones").stat().st_size
    for number in range(size // 64 + 10):
        stones.add(name(number), None)
    assert (tmp_path / "tombstones").stat().st_size > size
    again = open_tombstones()
    assert all(again.covers(name(number), 1) for number in range(size // 64 + 10))


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 9)), max_size=20))
def test_a_tombstone_never_gets_weaker(tmp_path_factory, added):
    path = tmp_path_factory.mktemp("stones") / "tombstones"
    stones = Tombstones(path)
    for number, below in added:
        stones.add(name(number), below)
    expected = {
        (number, version)
        for number in range(4)
        for version in range(11)
        if any(one == number and (below is None or version < below) for one, below in added)
    }
    again = Tombstones(path)
    for one in (stones, again):
        found = {(n, v) for n in range(4) for v in range(11) if one.covers(name(n), v)}
        assert found == expected
        one.close()
    path.unlink()
