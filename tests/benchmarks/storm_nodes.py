"""The nodes of a storm: the shipped schedule, line and keeper, and what is imitated around them."""

import inspect
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from teleprefetch.domain.admission import Claim, Line
from teleprefetch.domain.lateness import Forecast, Left, Rate, too_late
from teleprefetch.domain.scheduling import Lane, Operation, Schedule, Turn
from teleprefetch.domain.warming_order import FramesToAsk, Place
from teleprefetch.edge.archives.quota_keeper import QuotaKeeper
from teleprefetch.edge.warming.slots import URGENCY
from teleprefetch.edge.warming.worker import Worker
from tests.benchmarks.storm_load import UNIT_FRAMES, Import

if TYPE_CHECKING:
    from tests.benchmarks.storm_world import World

READERS_SHARE: Final = 0.2
_FETCH_S: Final = 0.12
_LEDGER_S: Final = 0.01
_FORECAST_S: Final = 5.0
_ASKED_AHEAD_UNITS: Final = 128 // UNIT_FRAMES
_GROUP: Final = "healthimaging"
_WORKER: Final = inspect.signature(Worker).parameters
AT_ONCE: Final = int(_WORKER["at_once"].default)
TAKEN_AT_MOST: Final = int(_WORKER["taken_at_most"].default)


class Running:
    """An order under way: the imitation of `OrderRun`'s loop."""

    def __init__(self, wanted: Import, node: "Node") -> None:
        self.wanted = wanted
        self.node = node
        self.to_ask = FramesToAsk()
        self.pending = 0
        self.left = list(wanted.template.units)
        self.put_off: frozenset[int] = frozenset()
        self.is_over = False
        self.failures = 0
        self._openings = len(wanted.template.metadata)

    def begin(self) -> None:
        for place in self.wanted.template.metadata:
            self._queue(place, Operation.METADATA)

    def answered(self, place: Place, operation: Operation) -> None:
        if operation is Operation.METADATA:
            places = self.wanted.template.places[place.at]
            self.to_ask.add(places)
            self._openings += sum(one.is_opening for one in places) - 1
        else:
            self.left[place.at] -= 1
            self._openings -= place.is_opening
        self.pending -= 1
        if not self.is_over:
            self.refill()
        if not self.pending and not self.to_ask:
            self.node.ended(self)

    def refill(self) -> None:
        while self.to_ask and self.pending < _ASKED_AHEAD_UNITS:
            place = self.to_ask.take()
            self._queue(place, Operation.FRAME, is_put_off=place.at in self.put_off)

    def forecast(self, rate: float | None, *, crowded: bool, now_s: float) -> bool:
        """Whether it gives its place to others."""
        planned = self.wanted.template.planned
        left = [Left(at, planned[at].rank, units) for at, units in enumerate(self.left)]
        is_all_late = False
        if rate is not None:
            total = sum(self.left)
            forecast = Forecast(total, rate, self.wanted.due_s - now_s)
            self.put_off = too_late(left, forecast.fitting_bytes)
            left_at = (at for at, units in enumerate(self.left) if units)
            is_all_late = not self._openings and self.put_off.issuperset(left_at)
        is_late = is_all_late or now_s >= self.wanted.due_s
        return crowded and is_late and self.wanted.priority != "stat"

    def _queue(self, place: Place, operation: Operation, *, is_put_off: bool = False) -> None:
        self.pending += 1
        turn = Turn(
            urgency=URGENCY[self.wanted.priority],
            lane=Lane(self.wanted.tenant, operation),
            patient=str(self.wanted.number),
            band=place.band,
            position=place.position,
            due_s=self.wanted.due_s,
            size_bytes=200_000,
        )
        if is_put_off and turn.can_be_put_off and not place.is_opening:
            turn = turn.put_off()
        self.node.schedule.add((self, place, operation), turn)


class Node:
    """A node: the shipped schedule and keeper, and places for fetches."""

    def __init__(self, world: "World", number: int, places: int) -> None:
        self.world = world
        self.schedule: Schedule[tuple[Running, Place, Operation]] = Schedule()
        self.queue: deque[Import] = deque()
        self.line: Line[Import] = Line(AT_ONCE, most_waiting=(TAKEN_AT_MOST - AT_ONCE) * 3 // 4)
        self.running: set[Running] = set()
        self.most_queued = 0
        self._free = places
        self._rate = Rate()
        self._step_due_s = math.inf
        self._stepped_s = -1.0
        self._look_due_s = math.inf
        self._fetched: set[tuple[int, int, int]] = set()
        self.keeper = QuotaKeeper(
            world.ledger,
            {_GROUP: world.quotas},
            groups=dict.fromkeys(("big", "mid", "small"), _GROUP),
            readers_share=READERS_SHARE,
            queued=self.schedule.lengths,
            wake=lambda: None,
            monotonic_s=lambda: world.clock() + 0.37 * number,
        )
        world.at(_FORECAST_S * (1 + number % 7 / 7), self._forecast)

    def arrives(self, wanted: Import) -> None:
        self.queue.append(wanted)
        self._take_orders()
        self.pump()

    def ended(self, run: Running) -> None:
        if run in self.running:
            self.running.remove(run)
            self.line.leave(run.wanted, self.world.clock())
            self.world.release(run.wanted)
            self._take_orders()

    def pump(self) -> None:
        now_s = self.world.clock()
        self.most_queued = max(self.most_queued, len(self.schedule))
        while self._free:
            soonest_s = math.inf

            def is_open(lane: Lane) -> bool:
                nonlocal soonest_s
                wait_s = self.keeper.wait_s(lane)
                soonest_s = min(soonest_s, wait_s) if wait_s else soonest_s
                if math.isinf(wait_s):
                    self._step_at(max(now_s + _LEDGER_S, self._stepped_s + 0.1))
                return not wait_s

            job = self.schedule.take(now_s=now_s, is_open=is_open)
            if job is None:
                self._look_at(now_s + soonest_s)
                return
            self._fetch(*job)

    def _fetch(self, run: Running, place: Place, operation: Operation) -> None:
        now_s = self.world.clock()
        if run.is_over:
            run.answered(place, operation)
            return
        self.keeper.begun(Lane(run.wanted.tenant, operation))
        self._free -= 1
        is_answered = self.world.ask(operation)
        self.world.at(now_s + _FETCH_S, lambda: self._came(run, place, operation, is_answered))

    def _came(self, run: Running, place: Place, operation: Operation, is_answered: bool) -> None:
        self._free += 1
        if is_answered:
            self._count(run, place, operation)
            run.answered(place, operation)
        else:
            self.world.counts["warming_throttles"] += 1
            self.keeper.throttled(Lane(run.wanted.tenant, operation))
            run.failures += 1
            pause_s = min(0.2 * 2.0 ** min(run.failures // 8, 16), 20.0)
            again_s = self.world.clock() + pause_s * self.world.chance.random()
            self.world.at(again_s, lambda: self._again(run, place, operation))
        self.pump()

    def _again(self, run: Running, place: Place, operation: Operation) -> None:
        run.pending -= 1
        run._queue(place, operation)
        self.pump()

    def _count(self, run: Running, place: Place, operation: Operation) -> None:
        now_s, wanted = self.world.clock(), run.wanted
        if operation is Operation.METADATA:
            return
        self._rate.note(1, now_s)
        key = (wanted.number, place.at, place.frame)
        self.world.counts["refetched_units"] += key in self._fetched
        self._fetched.add(key)
        self.world.counts["units"] += 1
        if now_s <= min(wanted.due_s, self.world.until_s):
            self.world.in_time[wanted.tenant, wanted.priority] += 1
            self.world.counts["in_time"] += 1
            is_opening = place.frame == 0 and run.wanted.template.planned[place.at].rank == 0
            self.world.counts["openings_in_time"] += is_opening

    def _take_orders(self) -> None:
        now_s = self.world.clock()
        while self.queue and len(self.running) + self.line.waiting < TAKEN_AT_MOST:
            wanted = self.queue.popleft()
            planned = wanted.template.planned
            current = sum(one.estimated_bytes for one in planned if one.role == "current")
            claim = Claim(URGENCY[wanted.priority], wanted.tenant, wanted.due_s, current)
            self.line.add(wanted, claim)
            self._hand_out(now_s)
        self._hand_out(now_s)

    def _hand_out(self, now_s: float) -> None:
        for admitted in self.line.admitted():
            run = Running(admitted, self)
            self.running.add(run)
            run.begin()
        for hopeless in self.line.in_vain(now_s, self._rate.bytes_per_s()):
            self.world.counts["orders_in_vain"] += 1
            self.world.release(hopeless)

    def _forecast(self) -> None:
        now_s = self.world.clock()
        rate = self._rate.bytes_per_s()
        waiting = self.line.waiting
        share = None if rate is None else rate / max(1, len(self.running) + waiting)
        for run in list(self.running):
            if run.forecast(share, crowded=self.line.waiting > 0, now_s=now_s):
                run.is_over = True
                self.world.counts["orders_cut_short"] += 1
                self.ended(run)
        self.world.at(now_s + _FORECAST_S, self._forecast)
        self.pump()

    def _step_at(self, moment_s: float) -> None:
        if moment_s < self._step_due_s:
            self._step_due_s = moment_s
            self.world.at(moment_s, lambda: self._step(moment_s))

    def _step(self, moment_s: float) -> None:
        if moment_s != self._step_due_s:
            return
        self._step_due_s, self._stepped_s = math.inf, moment_s
        again_s = self.keeper.step()
        self.pump()
        if len(self.schedule):
            self._step_at(self.world.clock() + max(0.1, min(again_s, 1.0)))

    def _look_at(self, moment_s: float) -> None:
        now_s = self.world.clock()
        if not math.isinf(moment_s) and (moment_s < self._look_due_s or self._look_due_s <= now_s):
            self._look_due_s = moment_s
            self.world.at(moment_s + 1e-4, self.pump)
