"""Whether an order will be warm before its notice goes out: bytes left over rate against time left.

What cannot be there in time is not dropped: it is put off, the least useful first, behind whatever
of other orders can be.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

FORECAST: Final = "forecast: "
"""How the words of a forecast begin."""
_SECONDS_REMEMBERED: Final = 20
_ENOUGH_SECONDS: Final = 2


class Left(NamedTuple):
    """What is left of a series; of a prior of some rank, or of the current study, rank 0."""

    at: int
    rank: int
    left_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """An order's arithmetic at one moment."""

    left_bytes: int
    rate_bytes_per_s: float
    time_left_s: float

    @property
    def needed_s(self) -> float:
        """How long the bytes take."""
        return self.left_bytes / self.rate_bytes_per_s

    @property
    def late_s(self) -> float:
        """How much too long that is; 0 if it is in time."""
        return max(0.0, self.needed_s - max(0.0, self.time_left_s))

    @property
    def fitting_bytes(self) -> float:
        """How many bytes can come in time."""
        return self.rate_bytes_per_s * max(0.0, self.time_left_s)

    def words(self, put_off: int) -> str:
        """The forecast as a report says it.

        Args:
            put_off: how many series were put off.
        """
        said = (
            f"{FORECAST}{self.left_bytes / 1e6:.1f} MB left at {self.rate_bytes_per_s / 1e6:.2f}"
            f" MB/s take {self.needed_s:.0f} s of {max(0.0, self.time_left_s):.0f} s"
        )
        if self.late_s:
            said += f": {self.late_s:.0f} s late"
        return f"{said}; the least useful {put_off} series come last" if put_off else said


def too_late(left: Iterable[Left], fitting_bytes: float) -> frozenset[int]:
    """The series that only begin when the time is over, the most useful going first."""
    late: set[int] = set()
    before = 0
    for series in sorted(left, key=lambda one: (one.rank, one.at)):
        if series.left_bytes and before >= fitting_bytes:
            late.add(series.at)
        before += series.left_bytes
    return frozenset(late)


class Rate:
    """Bytes a second of late, over the seconds in which anything came."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_SECONDS_REMEMBERED)

    def note(self, received_bytes: int, now_s: float) -> None:
        """Count what came; times only go forward."""
        second = int(now_s)
        if self._seconds and self._seconds[-1][0] == second:
            received_bytes += self._seconds.pop()[1]
        self._seconds.append((second, received_bytes))

    def bytes_per_s(self) -> float | None:
        """The rate; None before there is enough to tell. The second under way is not whole."""
        whole = list(self._seconds)[:-1]
        if len(whole) < _ENOUGH_SECONDS:
            return None
        return sum(received for _, received in whole) / len(whole) or None
