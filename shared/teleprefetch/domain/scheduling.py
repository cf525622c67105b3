"""Which fetch of a node comes next: one policy for all orders, with the time passed in.

    urgency        STAT before HIGH before ROUTINE
    band           openings (metadata; first, middle and last frames), the current study's rest,
                   priors' rest; what comes too late for its notice goes behind all, except STAT's
    tenant         who had the fewest bytes of late (start-time fair queueing)
    patient        openings: who had the fewest bytes at all; the rest: whose notice is due within
                   the same half minute shares fairly, the earlier half minute goes first
    position       the order's own sequence (`domain.warming_order`)

Nothing that is under way is touched: only what is queued changes places. So that nothing waits for
ever that can be in time, each 32nd choice is what has waited longest. Sources: P. Goyal et al.,
"Start-time fair queueing" (SIGCOMM 1996); L. Kleinrock, "Queueing systems" II, on the least
attained service.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

from teleprefetch.domain.fair_queue import Account, Accounts, Entry, FairQueue, Key

_LONGEST_WAITING_EVERY: Final = 32
_SLOT_S: Final = 30.0
_TYPICAL_BYTES: Final = 200_000
_MOST_REMEMBERED: Final = 4096
Level = tuple[int, int]
T = TypeVar("T", bound=Hashable)


class Urgency(IntEnum):
    """Who goes first; a reader who waits always does."""

    READER = 0
    STAT = 1
    HIGH = 2
    ROUTINE = 3


class Band(IntEnum):
    """How soon a fetch is useful to whoever opens the study."""

    OPENING = 0
    CURRENT = 1
    PRIORS = 2
    TOO_LATE = 3


class Operation(IntEnum):
    """What an archive is asked for; of one patient the metadata come first."""

    METADATA = 0
    FRAME = 1


class Lane(NamedTuple):
    """What shares one quota: an archive, and what is asked of it."""

    tenant: str
    operation: Operation


_NO_LANE: Final = Lane("", Operation.FRAME)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a fetch stands.

    `position` is its place in its order, `due_s` when its notice goes out, on the clock that
    `Schedule.take` is given; `size_bytes` is an estimate, 0 if nothing is known.
    """

    urgency: Urgency
    lane: Lane = _NO_LANE
    patient: str = ""
    band: Band = Band.OPENING
    position: int = 0
    due_s: float = math.inf
    size_bytes: int = 0

    def is_before(self, other: "Turn") -> bool:
        """Whether this turn moves a fetch forward that stands at the other."""
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, int, float, int]:
        return (self.urgency, self.band, self.due_s, self.position)

    @property
    def level(self) -> Level:
        """Urgency and band: a lower level goes first, whoever's it is."""
        return (self.urgency, self.band)

    @property
    def can_be_put_off(self) -> bool:
        """Whether it goes behind others once its notice is out; openings and STAT studies never."""
        is_stat = self.urgency is Urgency.STAT
        return self.band is Band.PRIORS or (self.band is Band.CURRENT and not is_stat)

    def put_off(self) -> "Turn":
        """The same, behind whatever can be in time of anybody else's."""
        return replace(self, urgency=Urgency.ROUTINE, band=Band.TOO_LATE, due_s=math.inf)

    @property
    def cost_bytes(self) -> int:
        """What the fetch is charged to patient and tenant."""
        return self.size_bytes or _TYPICAL_BYTES

    @property
    def slot(self) -> float:
        """The half minute in which the notice is due; of openings all are alike."""
        return self.due_s if math.isinf(self.due_s) else self.due_s // _SLOT_S


class _LaneQueue(Generic[T]):
    """The queued fetches of one lane: by level, and in the order they came."""

    def __init__(self) -> None:
        self._levels: dict[Level, FairQueue[T]] = {}
        self._by_age: deque[Entry[T]] = deque()
        self._most_remembered = _MOST_REMEMBERED
        self.queued = 0

    def level(self, level: Level, accounts: Accounts) -> FairQueue[T]:
        if level not in self._levels:
            self._levels[level] = FairQueue(accounts)
            self._levels = dict(sorted(self._levels.items()))
        return self._levels[level]

    def remember(self, entry: Entry[T]) -> None:
        self._by_age.append(entry)
        if len(self._by_age) > self._most_remembered:
            self._by_age = deque(one for one in self._by_age if not one.is_gone)
            self._most_remembered = max(_MOST_REMEMBERED, 2 * len(self._by_age))

    def best(self, now_slot: float) -> tuple[Level, Key, Entry[T]] | None:
        """What comes first at the lowest level with work in it."""
        for level, queue in self._levels.items():
            if found := queue.best(now_slot):
                return level, *found
        return None

    def oldest(self) -> Entry[T] | None:
        while self._by_age and self._by_age[0].is_gone:
            self._by_age.popleft()
        return self._by_age[0] if self._by_age else None


@dataclass(slots=True)
class _Queued(Generic[T]):
    entry: Entry[T]
    turn: Turn
    account: Account


class Schedule(Generic[T]):
    """What a node has queued, over all its orders; used by one thread at a time.

    A choice costs a few heap operations for each lane, however much is queued.

    Args:
        longest_waiting_every: each how-many-th choice is what has waited longest.
    """

    def __init__(self, *, longest_waiting_every: int = _LONGEST_WAITING_EVERY) -> None:
        self._every = longest_waiting_every
        self._lanes: dict[Lane, _LaneQueue[T]] = {}
        self._queued: dict[T, _Queued[T]] = {}
        self._tenants: dict[int, Accounts] = {}
        self._patients: dict[tuple[Level, str], Accounts] = {}
        self._now_slot = -math.inf
        self._choices = 0
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, job: T) -> bool:
        return job in self._queued

    def lengths(self) -> Mapping[Lane, int]:
        """How many jobs are queued in each lane."""
        return {lane: queue.queued for lane, queue in self._lanes.items()}

    def add(self, job: T, turn: Turn) -> None:
        """Queue a job, or give one that is queued another turn."""
        self.discard(job)
        entry = Entry(job, turn.slot, turn.position, self._numbers)
        self._numbers += 1
        lane = self._lanes.setdefault(turn.lane, _LaneQueue())
        queue = lane.level(turn.level, self._accounts(turn))
        account = queue.add(turn.patient, entry, now_slot=self._now_slot)
        account.queued += 1
        if turn.band is not Band.TOO_LATE:
            lane.remember(entry)
        lane.queued += 1
        self._tenant(turn).queued += 1
        self._queued[job] = _Queued(entry, turn, account)

    def discard(self, job: T) -> None:
        """Take a job out, if it is queued."""
        queued = self._queued.pop(job, None)
        if queued is None:
            return
        queued.entry.is_gone = True
        queued.account.queued -= 1
        self._lanes[queued.turn.lane].queued -= 1
        self._tenant(queued.turn).queued -= 1
        if not queued.account.queued:
            self._accounts(queued.turn).forget_idle()

    def take(
        self, *, now_s: float, is_open: Callable[[Lane], bool] = lambda _lane: True
    ) -> T | None:
        """The job to begin now, which is queued no more; None if no open lane has one.

        Args:
            now_s: on the clock of the turns' `due_s`.
            is_open: whether a lane may begin a fetch now; asked once for each lane with work.
        """
        self._now_slot = now_s // _SLOT_S
        lanes = [one for one, queue in self._lanes.items() if queue.queued and is_open(one)]
        is_for_oldest = (self._choices + 1) % self._every == 0
        entry = self._in_time(lanes, self._oldest) if is_for_oldest else None
        entry = entry or self._in_time(lanes, self._best)
        if entry is None:
            return None
        self._choices += 1
        turn = self._queued[entry.job].turn
        self._tenants[turn.urgency].charge(self._tenant(turn), turn.cost_bytes)
        self._accounts(turn).charge(self._queued[entry.job].account, turn.cost_bytes)
        self.discard(entry.job)
        return entry.job

    def _in_time(
        self, lanes: list[Lane], choose: Callable[[list[Lane]], Entry[T] | None]
    ) -> Entry[T] | None:
        """What is chosen; what surfaces too late for its notice goes behind everything else."""
        while (entry := choose(lanes)) is not None:
            turn = self._queued[entry.job].turn
            if entry.slot >= self._now_slot or not turn.can_be_put_off:
                return entry
            self.add(entry.job, turn.put_off())
        return None

    def _oldest(self, lanes: list[Lane]) -> Entry[T] | None:
        oldest = [entry for lane in lanes if (entry := self._lanes[lane].oldest())]
        return min(oldest, key=lambda entry: entry.number, default=None)

    def _best(self, lanes: list[Lane]) -> Entry[T] | None:
        best: Entry[T] | None = None
        best_key: tuple[Level, float, Key, Operation] | None = None
        for lane in lanes:
            found = self._lanes[lane].best(self._now_slot)
            if found is None:
                continue
            level, key, entry = found
            tenant = self._tenants[level[0]].of(lane.tenant)
            # Of one patient the lanes' keys differ by nothing but the flow's number.
            whole_key = (level, tenant.start, (*key[:2], 0), lane.operation)
            if best_key is None or whole_key < best_key:
                best, best_key = entry, whole_key
        return best

    def _accounts(self, turn: Turn) -> Accounts:
        level = turn.level
        return self._patients.setdefault(
            (level, turn.lane.tenant), Accounts(fewest_first=turn.band is Band.OPENING)
        )

    def _tenant(self, turn: Turn) -> Account:
        return self._tenants.setdefault(turn.urgency, Accounts()).of(turn.lane.tenant)
