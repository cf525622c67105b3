"""Imports of a storm: what each asks for, and how much of it any schedule could have in time."""

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from teleprefetch.domain.warming_order import WarmingOrder
from teleprefetch.model import PlannedSeries, Priority, Role, SeriesPointer

UNIT_FRAMES: Final = 8
"""One unit of work stands for so many frames; a series' opening is one unit."""
DUE_S: Final[dict[Priority, float]] = {"stat": 120, "high": 300, "routine": 300}
PRIORITIES: Final[tuple[Priority, ...]] = ("stat", *["high"] * 24, *["routine"] * 25)
TENANTS: Final = ("big", "big", "big", "big", "big", "big", "big", "mid", "mid", "small")
_SHAPES: Final = ((1, 1), (1, 1), (2, 3), (4, 6), (2, 32))
"""Series and units each: radiographs, ultrasound, MR, CT; about 300 frames an import."""


class Template:
    """A plan, made once and used for many imports."""

    def __init__(self, chance: random.Random) -> None:
        self.planned: list[PlannedSeries] = []
        self.units: list[int] = []
        self._add("current", 0, chance.choice(_SHAPES))
        for rank in range(1, chance.choice((0, 0, 1, 1, 2)) + 1):
            self._add("prior", rank, chance.choice(_SHAPES))
        order = WarmingOrder(self.planned)
        self.metadata = order.metadata()
        self.places = [order.frames(at, units) for at, units in enumerate(self.units)]

    def _add(self, role: Role, rank: int, shape: tuple[int, int]) -> None:
        series, units = shape
        for number in range(series):
            uid = f"1.2.{rank}.{number}"
            pointer = SeriesPointer(study_instance_uid=f"1.2.{rank}", series_instance_uid=uid)
            self.planned.append(
                PlannedSeries(role=role, rank=rank, series=pointer, estimated_bytes=units)
            )
            self.units.append(units)


@dataclass(frozen=True, slots=True)
class Import:
    """One import and the notice that waits for it."""

    number: int
    at_s: float
    due_s: float
    priority: Priority
    tenant: str
    template: Template

    @property
    def units(self) -> int:
        return sum(self.template.units)


def imports(count: int, within_s: float, *, seed: int = 7) -> list[Import]:
    """Imports that come at random moments within a time."""
    chance = random.Random(seed)  # noqa: S311
    templates = [Template(chance) for _ in range(40)]
    moments = sorted(chance.uniform(0, within_s) for _ in range(count))
    found = []
    for number, at_s in enumerate(moments):
        priority = chance.choice(PRIORITIES)
        tenant, template = chance.choice(TENANTS), chance.choice(templates)
        due_s = at_s + DUE_S[priority]
        found.append(Import(number, at_s, due_s, priority, tenant, template))
    return found


def fitting_units(found: Sequence[Import], units_per_s: float, until_s: float) -> int:
    """How many units at most any schedule could have had before their notices, until a moment.

    Of unit jobs with releases and deadlines on one machine, the earliest deadline first, without
    those that are over, has the most in time (J. R. Jackson, 1955; M. Horn, 1974).
    """
    waiting: list[tuple[float, int]] = []
    coming = iter(sorted(found, key=lambda one: one.at_s))
    upcoming, done, credit = next(coming, None), 0, 0.0
    for second in range(int(until_s)):
        while upcoming is not None and upcoming.at_s < second + 1:
            heapq.heappush(waiting, (upcoming.due_s, upcoming.units))
            upcoming = next(coming, None)
        while waiting and waiting[0][0] < second:
            heapq.heappop(waiting)
        credit += units_per_s
        while waiting and credit >= 1:
            due_s, units = heapq.heappop(waiting)
            now = min(units, int(credit))
            done, credit = done + now, credit - now
            if units > now:
                heapq.heappush(waiting, (due_s, units - now))
        credit = min(credit, units_per_s)
    return done


def worst_share(had: dict[str, float], wanted: dict[str, float]) -> float:
    """What the tenant that fared worst had, over its max-min fair share of all that was had."""
    left, fair = sum(had.values()), dict.fromkeys(wanted, 0.0)
    open_tenants = {tenant for tenant, demand in wanted.items() if demand}
    while open_tenants and left > 1e-9:
        each = left / len(open_tenants)
        for tenant in sorted(open_tenants):
            given = min(each, wanted[tenant] - fair[tenant])
            fair[tenant] += given
            left -= given
        open_tenants = {one for one in open_tenants if wanted[one] - fair[one] > 1e-9}
    shares = _ratios(had, fair)
    return min(shares, default=1.0)


def _ratios(had: dict[str, float], fair: dict[str, float]) -> Iterable[float]:
    return [had.get(tenant, 0.0) / share for tenant, share in fair.items() if share]
