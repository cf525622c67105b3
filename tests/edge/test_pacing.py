import random
import threading

import pytest

from teleprefetch.edge.archives.first_bytes import FirstBytes
from teleprefetch.edge.archives.pacing import Pace
from teleprefetch.errors import OriginThrottledError, OriginUnavailableError

FRAME_BYTES = 200_000


class World:
    """Frames that take a round trip, share a bandwidth, and are throttled beyond so many.

    What finds the line taken waits before it, so that its first byte comes later.
    """

    def __init__(
        self, *, most, round_trip_s, bytes_per_s, throttled_beyond=10_000, tells_first_bytes=False
    ):
        self.now_s = 0.0
        self.pace = Pace(most=most, monotonic_s=lambda: self.now_s)
        self.round_trip_s = round_trip_s
        self.bytes_per_s = bytes_per_s
        self.throttled_beyond = throttled_beyond
        self.tells_first_bytes = tells_first_bytes
        self.limits = []
        self.under_way = []
        self.throttles = 0

    def run(self, frames):
        """Fetch frames, always as many at once as the pace allows."""
        line_free_s = self.now_s
        while frames or self.under_way:
            while frames and len(self.under_way) < self.pace.limit:
                self._ask(line_free_s)
                line_free_s = max(line_free_s, self.now_s) + FRAME_BYTES / self.bytes_per_s
                frames -= 1
            self.under_way.sort(key=lambda one: one[0])
            self.now_s, frame, is_throttled, first_byte_s = self.under_way.pop(0)
            if self.tells_first_bytes:
                self.pace.first_byte("archive", first_byte_s)
            error = OriginThrottledError("frame") if is_throttled else None
            frame.__exit__(type(error) if error else None, error, None)
            self.throttles += is_throttled
            self.limits.append(self.pace.limit)

    def _ask(self, line_free_s):
        frame = self.pace.under_way(FRAME_BYTES)
        frame.__enter__()
        is_throttled = len(self.under_way) >= self.throttled_beyond
        ends_s = max(line_free_s, self.now_s) + FRAME_BYTES / self.bytes_per_s + self.round_trip_s
        ends_s = self.now_s + self.round_trip_s if is_throttled else ends_s
        first_byte_s = max(line_free_s - self.now_s, 0.0) + self.round_trip_s
        self.under_way.append((ends_s, frame, is_throttled, first_byte_s))


def a_world(*, most=256, **fields):
    return World(most=most, **fields)


def test_a_long_fat_link_is_filled():
    world = a_world(round_trip_s=0.1, bytes_per_s=125e6)
    world.run(4000)
    assert sum(world.limits[-1000:]) / 1000 >= 60  # 12.5 MB under way fill it
    assert 4000 * FRAME_BYTES / world.now_s >= 0.85 * 125e6


def test_a_long_thin_link_is_soon_asked_for_no_more_than_it_and_its_queue_hold():
    """In a router's queue, a round trip long, 10 frames find room beside 10 on the way."""
    told = a_world(round_trip_s=0.15, bytes_per_s=12.5e6, tells_first_bytes=True)
    told.run(2000)
    assert sum(told.limits[-1500:]) / 1500 <= 32
    assert 2000 * FRAME_BYTES / told.now_s >= 0.9 * 12.5e6


def test_a_limit_that_was_found_too_low_is_doubled_while_nothing_queues():
    world = a_world(round_trip_s=0.15, bytes_per_s=125e6, tells_first_bytes=True)
    world.run(2000)
    world.pace._hold(16)  # a machine that stood still for a second looks like a full link
    world.limits.clear()
    world.run(3000)
    assert world.limits[600] >= 32
    assert sum(world.limits[-1000:]) / 1000 >= 90


def test_what_was_found_out_is_kept_for_the_next_order():
    world = a_world(round_trip_s=0.15, bytes_per_s=125e6, tells_first_bytes=True)
    world.run(4000)
    world.now_s += 600
    world.limits.clear()
    began_s = world.now_s
    world.run(1000)
    assert min(world.limits) >= 90
    assert 1000 * FRAME_BYTES / (world.now_s - began_s) >= 0.8 * 125e6


def test_archives_that_are_far_and_near_are_each_judged_by_themselves():
    heard = FirstBytes()
    for _ in range(16):
        heard.hear("near", 0.01)
        heard.hear("far", 0.2)
    assert not heard.end_round()
    assert heard.quiet_s() == pytest.approx(0.105)
    heard.begin_round()
    for _ in range(16):
        heard.hear("far", 0.21)
    assert not heard.end_round()
    for _ in range(16):
        heard.hear("near", 0.02)
    assert heard.end_round(), "the near one takes twice as long as before"


def test_a_round_of_a_few_frames_says_nothing_of_a_queue():
    heard = FirstBytes()
    assert heard.quiet_s() is None
    for seconds in (0.1, 0.9):
        heard.begin_round()
        for _ in range(7):
            heard.hear("archive", seconds)
        assert not heard.end_round()


def test_what_brings_no_more_is_not_asked_for():
    world = a_world(round_trip_s=0.01, bytes_per_s=12.5e6)
    world.run(4000)
    assert max(world.limits) <= 64
    assert sum(world.limits[-1000:]) / 1000 <= 40
    assert 4000 * FRAME_BYTES / world.now_s >= 0.95 * 12.5e6


def test_a_link_that_becomes_longer_is_filled_again():
    world = a_world(round_trip_s=0.01, bytes_per_s=125e6)
    world.run(3000)
    world.round_trip_s = 0.15
    began_s = world.now_s
    world.run(20_000)
    assert world.pace.limit >= 70
    assert 20_000 * FRAME_BYTES / (world.now_s - began_s) >= 0.75 * 125e6


def test_an_archive_that_throttles_is_asked_for_less_and_then_for_a_little_more():
    world = a_world(round_trip_s=0.1, bytes_per_s=1e9, throttled_beyond=20)
    world.run(6000)
    assert max(world.limits[-2000:]) <= 24
    assert min(world.limits[-2000:]) >= 10
    assert world.throttles <= 6000 * 0.05


def test_throttled_together_is_throttled_once():
    pace = Pace(most=64)
    limit = pace.limit
    frames = [pace.under_way(FRAME_BYTES) for _ in range(limit)]
    for frame in frames:
        frame.__enter__()
    for frame in frames:
        error = OriginThrottledError("frame")
        assert not frame.__exit__(type(error), error, None)
    assert pace.limit == int(limit * 0.7)


def test_the_limit_is_never_beyond_the_most_nor_below_one():
    random.seed(0)
    world = a_world(most=7, round_trip_s=0.05, bytes_per_s=125e6, throttled_beyond=1)
    world.run(500)
    world.throttled_beyond = 10_000
    world.run(500)
    assert 1 <= min(world.limits) <= max(world.limits) <= 7


def test_an_order_with_little_to_fetch_says_nothing_of_the_link():
    world = a_world(round_trip_s=0.1, bytes_per_s=125e6)
    limit = world.pace.limit
    for _ in range(50):
        world.run(3)  # a pause between small orders is no slow link
        world.now_s += 60
    assert world.pace.limit == limit


def test_other_errors_are_passed_on_and_change_nothing():
    pace = Pace(most=64)
    limit = pace.limit
    with pytest.raises(OriginUnavailableError), pace.under_way(FRAME_BYTES):
        raise OriginUnavailableError("frame")
    assert pace.limit == limit


def test_threads_share_a_pace():
    pace = Pace(most=16)

    def fetch():
        for _ in range(500):
            with pace.under_way(FRAME_BYTES):
                pass

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pace._under_way == 0
    assert 1 <= pace.limit <= 16
