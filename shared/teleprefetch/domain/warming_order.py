"""In which order a node fetches a plan: what a reader looks at first comes first.

Metadata of everything; the first frame of every series, then their middle and last ones, which
viewers show as thumbnails and often begin a stack with; then the rest of the current study; then
the rest of the priors by rank. Frames of a series may be asked for as soon as its metadata are
there: positions tell where they belong among those of series that are not known yet.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from teleprefetch.domain.scheduling import Band
from teleprefetch.model import PlannedSeries

# What one order may put ahead of everybody's rest: metadata and three frames of so many series.
_SERIES_OPENED: Final = 32
_PER_PHASE: Final = 10**12
_PER_SERIES: Final = 10**6


class Place(NamedTuple):
    """Where a fetch stands: its position in the order; series and frame by position in the plan."""

    position: int
    band: Band
    at: int
    frame: int

    @property
    def is_opening(self) -> bool:
        """Whether it is a first, middle or last frame."""
        return self.position < 3 * _PER_PHASE


class WarmingOrder:
    """The order of a plan's fetches.

    Args:
        planned: the plan's series.
    """

    def __init__(self, planned: Sequence[PlannedSeries]) -> None:
        self._planned = planned
        self._nth = {at: nth for nth, at in enumerate(series_order(planned))}

    def metadata(self) -> list[Place]:
        """Every series' metadata, in order."""
        return [Place(nth, self._opening(nth), at, 0) for at, nth in self._nth.items()]

    def frames(self, at: int, count: int) -> list[Place]:
        """A series' frames, in order among themselves.

        Args:
            at: the series' position in the plan.
            count: how many frames it has, by its metadata.
        """
        nth = self._nth[at]
        rest = Band.CURRENT if self._planned[at].role == "current" else Band.PRIORS
        ahead = [frame for frame in dict.fromkeys((0, count // 2, count - 1)) if 0 <= frame < count]
        opening = [
            Place(self._position(2 if frame else 1, nth, number), self._opening(nth), at, frame)
            for number, frame in enumerate(ahead)
        ]
        done = {place.frame for place in opening}
        return opening + [
            Place(self._position(3, nth, frame), rest, at, frame)
            for frame in range(count)
            if frame not in done
        ]

    @staticmethod
    def _position(phase: int, nth: int, number: int) -> int:
        return phase * _PER_PHASE + nth * _PER_SERIES + number

    @staticmethod
    def _opening(nth: int) -> Band:
        return Band.OPENING if nth < _SERIES_OPENED else Band.CURRENT


class FramesToAsk:
    """The frames of an order that were not asked for yet, the first in order first."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, places: Iterable[Place]) -> None:
        """Add frames of a series."""
        for place in places:
            heapq.heappush(self._places, place)

    def take(self) -> Place:
        """The next one.

        Raises:
            IndexError: there is none.
        """
        return heapq.heappop(self._places)


def series_order(planned: Sequence[PlannedSeries]) -> list[int]:
    """The positions of a plan's series: the current study, then priors by rank, then as planned."""
    return sorted(
        range(len(planned)),
        key=lambda at: (planned[at].role != "current", planned[at].rank, at),
    )


def frame_order(
    planned: Sequence[PlannedSeries], frame_counts: Sequence[int]
) -> list[tuple[int, int]]:
    """Each frame of a plan once, as (position of the series, position of the frame).

    Args:
        planned: the plan's series.
        frame_counts: how many frames each of them has, by its metadata.
    """
    order = WarmingOrder(planned)
    places = (place for at, count in enumerate(frame_counts) for place in order.frames(at, count))
    return [(place.at, place.frame) for place in sorted(places)]
