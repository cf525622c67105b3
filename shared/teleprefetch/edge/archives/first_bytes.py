"""How long frames take until their first byte: once much longer than before, the link is full."""

import statistics
from collections import defaultdict, deque
from typing import Final

_QUEUEING: Final = 1.3
_SHORTEST_S: Final = 1e-4
_FEWEST_HEARD: Final = 8
_ROUNDS_REMEMBERED: Final = 64  # longer, and a route that has become a longer one were a queue


class FirstBytes:
    """Of the frames of one round after the other; used by one thread at a time.

    While a link has room an answer begins after a round trip and what the archive needs, however
    many frames are under way; beyond that they wait in a queue before the link, and overflow it.
    """

    def __init__(self) -> None:
        self._heard: defaultdict[str, list[float]] = defaultdict(list)
        self._medians_s: defaultdict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=_ROUNDS_REMEMBERED)
        )

    def hear(self, authority: str, seconds: float) -> None:
        """A frame of the round began after so many seconds."""
        self._heard[authority].append(seconds)

    def quiet_s(self) -> float | None:
        """What this round's frames would wait for on a quiet link, in the mean; None: not known."""
        known = [
            min(self._medians_s[authority])
            for authority, heard in self._heard.items()
            if authority in self._medians_s
            for _ in heard
        ]
        return statistics.fmean(known) if known else None

    def end_round(self) -> bool:
        """Whether this round's frames waited in a queue, by the medians of rounds of each archive.

        The round stays what `quiet_s` tells of until the next begins.
        """
        ratios = []
        for authority, heard in self._heard.items():
            if len(heard) >= _FEWEST_HEARD:
                medians = self._medians_s[authority]
                medians.append(statistics.median(heard))
                ratios.append(medians[-1] / max(min(medians), _SHORTEST_S))
        return bool(ratios) and max(ratios) >= _QUEUEING

    def begin_round(self) -> None:
        """Forget what the last round's frames took."""
        self._heard.clear()
