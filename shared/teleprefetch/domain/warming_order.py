"""In which order a node fetches a plan: what a reader looks at first comes first.

Metadata of everything, then the first frame of every series, then the rest of the current study,
then the rest of the priors by rank. Within a series' rest the middle and the last frame come
first: viewers show the one as the thumbnail and often begin the stack with the other.
"""

from collections.abc import Iterable, Sequence

from teleprefetch.model import PlannedSeries


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
    order = series_order(planned)
    openings = [(at, 0) for at in order if frame_counts[at]]
    return openings + [(at, frame) for at in order for frame in _rest(frame_counts[at])]


def _rest(count: int) -> Iterable[int]:
    ahead = dict.fromkeys(frame for frame in (count // 2, count - 1) if frame > 0)
    return (*ahead, *(frame for frame in range(1, count) if frame not in ahead))
