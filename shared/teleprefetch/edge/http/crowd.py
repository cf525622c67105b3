"""Who is connected: caps by address and in all, and who has to go when one is reached."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """How long clients are waited for, and how many there may be.

    Args:
        head_s: from a request's first byte to the end of its head.
        idle_s: between requests.
        stall_s: in which not one byte of an answer is taken.
        slowest_bytes_per_s: the rate below which an answer is given up, beyond `stall_s`.
        linger_s: how long a refused client is listened to, so that it reads why.
        stop_s: how long answers may take to end when the server stops.
        per_address: connections from one address; a proxy in front is one address.
        connections: connections in all.
    """

    head_s: float = 5.0
    idle_s: float = 75.0
    stall_s: float = 30.0
    slowest_bytes_per_s: float = 50_000.0
    linger_s: float = 2.0
    stop_s: float = 5.0
    per_address: int = 256
    connections: int = 1024


class Guest(Protocol):
    """A connection, as the crowd sees it."""

    @property
    def address(self) -> str:
        """Whose it is."""

    @property
    def waits_since(self) -> float | None:
        """Since when nothing is done for it, by the loop's clock; None while something is."""

    def check_deadlines(self, now: float) -> bool:
        """Close it if a deadline has passed; True if so."""

    def leave_soon(self) -> None:
        """Close it when its answer has ended, or at once."""

    def cut(self) -> None:
        """Close it at once."""


class Crowd:
    """All connections of a server.

    At a cap, the one that has waited longest makes room for a new one: a client that only holds
    connections open keeps nobody out.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: defaultdict[str, dict[Guest, None]] = defaultdict(dict)
        self._all: dict[Guest, None] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, guest: Guest) -> bool:
        """Let a connection in, if there is room or somebody can make some."""
        beside = self._by_address[guest.address]
        if len(beside) >= self._limits.per_address:
            if not self._make_room(beside):
                return False
        elif len(self._all) >= self._limits.connections and not self._make_room(self._all):
            return False
        self._by_address[guest.address][guest] = None
        self._all[guest] = None
        return True

    def leave(self, guest: Guest) -> None:
        """Forget a connection that has closed."""
        self._all.pop(guest, None)
        beside = self._by_address[guest.address]
        beside.pop(guest, None)
        if not beside:
            del self._by_address[guest.address]

    def check_deadlines(self, now: float) -> int:
        """Close those whose deadline has passed; how many."""
        return sum(guest.check_deadlines(now) for guest in list(self._all))

    def dismiss(self) -> None:
        """Have all leave: those who wait at once, the others when they are answered."""
        for guest in list(self._all):
            guest.leave_soon()

    def cut(self) -> int:
        """Close all that are left at once; how many."""
        late = list(self._all)
        for guest in late:
            guest.cut()
        return len(late)

    def _make_room(self, among: dict[Guest, None]) -> bool:
        waiting = [(one.waits_since, one) for one in among if one.waits_since is not None]
        if not waiting:
            return False
        _, longest = min(waiting, key=lambda pair: pair[0])
        longest.cut()
        self.leave(longest)
        self.evicted += 1
        return True
