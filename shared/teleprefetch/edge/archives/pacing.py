"""How many frames to have under way at once for warming: found out while they come.

More are worth it as long as they bring more bytes a second, up to what the link, the archive or
this machine gives; beyond that they only queue, in readers' way, and are dropped where queues are
short. So the number is doubled until that brings less than a tenth more, or first bytes begin to
wait in a queue; then as many are asked for as fill the link three times (rate x wait for a first
byte: each connection is idle for a round trip between frames, and its window still grows). From
then on it is doubled again after a while if nothing queues, and else tried a little higher and
lower in turn, as round trip and bandwidth change. When an archive throttles, three tenths fewer are
asked for, and one more after each round in which it did not (D. Chiu, R. Jain, "Analysis of the
increase and decrease algorithms", 1989).
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from teleprefetch.edge.archives.first_bytes import FirstBytes
from teleprefetch.errors import OriginThrottledError

_FIRST: Final = 16
_FILLED: Final = 3.0
_TAKEN_IN_S: Final = 0.05  # until a frame that has come is stored, on a busy machine
_FEWEST_TRIED: Final = 4
_WORTH_DOUBLING: Final = 1.1
_WORTH_MORE: Final = 1.05
_AS_GOOD: Final = 0.97
_STEP: Final = 1.25
_LESS_WHEN_THROTTLED: Final = 0.7
_ROUNDS_HELD: Final = 6
_SHORTEST_ROUND_S: Final = 0.1
_BUSY: Final = 0.7


class _Doing(Enum):
    GROWING = "growing"
    HOLDING = "holding"
    TRYING_MORE = "trying more"
    TRYING_LESS = "trying less"
    RECOVERING = "recovering"


class Pace:
    """The number, `limit`; shared by threads.

    A round is as many frames as may be under way - twice as many once the number does not grow any
    more - and a tenth of a second at least. One in which fewer were under way than might have been
    tells nothing, and is passed over.

    Args:
        most: never more than that.
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(self, *, most: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._doing = _Doing.GROWING
        self._before = (self.limit, 0.0)  # the limit that is known to be good, and its rate
        self._rounds_held = 0
        self._is_second_round = False
        self._tries_less_next = True
        self._throttled_until_s = 0.0
        self._throttled_at = most + 1  # never yet
        self._under_way = 0
        self._most_under_way = 0
        self._first_bytes = FirstBytes()
        self._begin_round(monotonic_s())

    @contextmanager
    def under_way(self, size_bytes: int) -> Iterator[None]:
        """Around a frame of about that size, from its request until it is stored."""
        is_throttled = False
        self._begin()
        try:
            yield
        except OriginThrottledError:
            is_throttled = True
            raise
        finally:
            self._end(size_bytes, is_throttled=is_throttled)

    def first_byte(self, authority: str, seconds: float) -> None:
        """A frame's answer began so many seconds after it was asked for."""
        with self._lock:
            self._first_bytes.hear(authority, seconds)

    def _begin(self) -> None:
        with self._lock:
            if not self._under_way:
                self._begin_round(self._monotonic_s())
            self._under_way += 1
            self._most_under_way = max(self._most_under_way, self._under_way)

    def _end(self, size_bytes: int, *, is_throttled: bool) -> None:
        with self._lock:
            self._under_way -= 1
            self._bytes += size_bytes
            self._ended += 1
            now_s = self._monotonic_s()
            took_s = now_s - self._began_s
            if is_throttled:
                self._slow_down(now_s)
            elif self._ended >= self._frames_in_round and took_s >= _SHORTEST_ROUND_S:
                if self._most_under_way >= _BUSY * self.limit:
                    self._judge(self._bytes / took_s)
                self._begin_round(now_s)

    @property
    def _frames_in_round(self) -> int:
        return self.limit if self._doing is _Doing.GROWING else 2 * self.limit

    def _begin_round(self, now_s: float) -> None:
        self._began_s = now_s
        self._bytes = self._ended = 0
        self._most_under_way = self._under_way
        self._first_bytes.begin_round()

    def _slow_down(self, now_s: float) -> None:
        """Ask for less, once for all that were throttled together."""
        if now_s >= self._throttled_until_s:
            self._throttled_at = self.limit
            self.limit = max(1, int(self.limit * _LESS_WHEN_THROTTLED))
            self._throttled_until_s = now_s + 2 * max(now_s - self._began_s, _SHORTEST_ROUND_S)
            self._doing = _Doing.RECOVERING
            self._rounds_held = 0
            self._before = (self.limit, 0.0)
        self._begin_round(now_s)

    def _judge(self, rate: float) -> None:
        good_limit, good_rate = self._before
        if self._doing is _Doing.GROWING:
            self._grow(rate, worth=good_rate * _WORTH_DOUBLING)
        elif self._doing is _Doing.RECOVERING:
            self._recover(rate)
        elif self._doing is _Doing.HOLDING:
            self._before = (self.limit, rate)
            self._rounds_held += 1
            has_room = not self._first_bytes.end_round() and self._first_bytes.quiet_s() is not None
            if self._rounds_held >= _ROUNDS_HELD:
                self._try_another(rate, has_room=has_room)
        else:
            self._end_try(rate, good_limit, good_rate)

    def _end_try(self, rate: float, good_limit: int, good_rate: float) -> None:
        if self._doing is _Doing.TRYING_LESS:
            self._hold(self.limit if rate >= good_rate * _AS_GOOD else good_limit)
        elif rate < good_rate * _WORTH_MORE:
            self._hold(good_limit)
        else:
            self._hold(self.limit, has_room=True)

    def _grow(self, rate: float, *, worth: float) -> None:
        good_limit, good_rate = self._before
        is_queueing = self._first_bytes.end_round()
        if rate < worth:
            has_room = not is_queueing and self._first_bytes.quiet_s() is not None
            if has_room and not self._is_second_round:
                self._is_second_round = True  # the windows of new connections grow first
            else:
                self._hold(min(good_limit, self._filling(max(rate, good_rate))))
            return
        self._before, self._is_second_round = (self.limit, rate), False
        if is_queueing or self.limit == self._most:
            self._hold(min(self.limit, self._filling(rate)))
        else:
            self.limit = self._twice(rate)

    def _twice(self, rate: float) -> int:
        twice = max(self.limit, min(self._most, 2 * self.limit, 2 * self._filling(rate)))
        return self.limit + 1 if self.limit < self._throttled_at <= twice else twice

    def _filling(self, rate: float) -> int:
        """How many frames fill the link and its queue; `_FIRST` at least."""
        quiet_s = self._first_bytes.quiet_s()
        if quiet_s is None:
            return self._most
        frame_bytes = self._bytes / max(1, self._ended)
        full_s = max(_FILLED * quiet_s, quiet_s + _TAKEN_IN_S)
        return max(_FIRST, math.ceil(rate * full_s / max(1.0, frame_bytes)))

    def _recover(self, rate: float) -> None:
        """One more after each round, up to what was too many; then what is worth it, as ever."""
        self._before = (self.limit, rate)
        if self.limit + 1 < self._throttled_at:
            self.limit += 1
        else:
            self._hold(self.limit)

    def _hold(self, limit: int, *, has_room: bool = False) -> None:
        """Stay there for some rounds; for one, and then try more, where more may be worth it."""
        self.limit = limit
        self._doing = _Doing.HOLDING
        self._rounds_held, self._is_second_round = 0, False
        if has_room:
            self._rounds_held, self._tries_less_next = _ROUNDS_HELD - 1, False

    def _try_another(self, rate: float, *, has_room: bool) -> None:
        """As many again while nothing queues; else a little less and a little more in turn."""
        if has_room:
            self._doing, self.limit = _Doing.GROWING, self._twice(rate)
            return
        self._doing = _Doing.TRYING_LESS if self._tries_less_next else _Doing.TRYING_MORE
        self._tries_less_next = not self._tries_less_next
        if self._doing is _Doing.TRYING_LESS:
            self.limit = min(self.limit, max(_FEWEST_TRIED, int(self.limit / _STEP)))
        else:
            more = max(self.limit + 1, int(self.limit * _STEP))
            careful = self.limit + 1 if self.limit < self._throttled_at <= more else more
            self.limit = min(self._most, careful)
