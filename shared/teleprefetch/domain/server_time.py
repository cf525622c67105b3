"""What time it is at a server, by the dates of its answers and a clock that only goes forward.

An answer's `Date` (RFC 9110 section 6.6.1) has whole seconds: the server's clock stood between it
and a second more at some moment between asking and hearing. Each answer narrows what the
difference of the two clocks can be. The machine's own wall clock is never asked, so that nothing
happens when it is set.
"""

from dataclasses import dataclass
from typing import Final

_RESOLUTION_S: Final = 1.0


@dataclass(slots=True)
class ServerTime:
    """The server's clock; None until the first answer."""

    _least_s: float = 0.0
    _most_s: float = 0.0
    _is_known: bool = False

    def heard(self, date_s: float, *, sent_s: float, received_s: float) -> None:
        """Take an answer into account.

        Args:
            date_s: its date, seconds since the epoch.
            sent_s: when it was asked for, on the own clock.
            received_s: when it came.
        """
        least_s, most_s = date_s - received_s, date_s + _RESOLUTION_S - sent_s
        if self._is_known and least_s <= self._most_s and most_s >= self._least_s:
            least_s, most_s = max(least_s, self._least_s), min(most_s, self._most_s)
        # Else one of the clocks was set, or has drifted: begin anew with what was heard last.
        self._least_s, self._most_s, self._is_known = least_s, most_s, True

    def at(self, own_s: float) -> float | None:
        """The server's seconds since the epoch at a moment of the own clock."""
        return own_s + (self._least_s + self._most_s) / 2 if self._is_known else None

    @property
    def uncertain_s(self) -> float:
        """How far off `at` may be."""
        return (self._most_s - self._least_s) / 2
