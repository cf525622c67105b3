"""How much of a quota is used, over all nodes and readers, as one node hears of it."""

from dataclasses import dataclass, field
from typing import Final

_MOST_WINDOWS: Final = 64


@dataclass(slots=True)
class QuotaUse:
    """Requests of each window since they were last taken; of the oldest windows no more is known.

    A window's are those that all nodes had leased, and readers had made, when this node last heard
    of it: at most what was used.
    """

    _windows: dict[int, int] = field(default_factory=dict)

    def saw(self, window: int, requests: int) -> None:
        """Hear of a window."""
        self._windows[window] = max(requests, self._windows.get(window, 0))
        if len(self._windows) > _MOST_WINDOWS:
            del self._windows[min(self._windows)]

    def take(self) -> int:
        """How many requests there were in all; they are counted no more."""
        requests = sum(self._windows.values())
        self._windows.clear()
        return requests
