"""Takes orders off the node's queue and carries them out, several at a time."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import methodcaller
from typing import Final

from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.order_run import Outcome
from teleprefetch.edge.warming.orders import ActiveOrder, attempted, read_order
from teleprefetch.edge.warming.slots import Slots, claim_of
from teleprefetch.edge.warming.warmer import Warmer
from teleprefetch.edge.warming.witness import Witness
from teleprefetch.edge.watching.logs import about
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.model import PurgeOrder, WarmReport
from teleprefetch.ports import Clock, Orders, Progress, ReceivedOrder, Tasks

_LOG: Final = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 30.0
_BEATING_AT_ONCE: Final = 8


class Worker:
    """The node's loop, its heartbeat, and a thread for each order under way.

    Orders are taken beyond those under way, up to `taken_at_most`, so that a purge never waits
    for a warm order to end; those wait for their turn with a heartbeat like the others.

    Args:
        node: this node's name; other nodes' orders are refused.
        orders: the queue.
        tasks: the tasks that wait for orders.
        progress: where reports go.
        warmer: carries out warm orders.
        store: carries out purge orders.
        witness: is told what was purged.
        clock: the time of reports.
        heartbeat_s: how often tasks, queue and reports hear of each order.
        visibility_s: how long an order stays invisible after a heartbeat.
        at_once: how many warm orders are under way at most, beside urgent ones: as many as it takes
            for the most useful fetches to be among theirs.
        taken_at_most: how many are taken at most; a quarter of those beyond `at_once` is for orders
            that do not wait for a place, so that an urgent one is always seen.
        wait_s: how long one receive waits; stopping waits as long.
    """

    def __init__(
        self,
        *,
        node: str,
        orders: Orders,
        tasks: Tasks,
        progress: Progress,
        warmer: Warmer,
        store: Store,
        clock: Clock,
        heartbeat_s: float,
        visibility_s: int,
        witness: Witness | None = None,
        at_once: int = 128,
        taken_at_most: int = 1024,
        wait_s: float = 2,
    ) -> None:
        self._node = node
        self._orders = orders
        self._tasks = tasks
        self._progress = progress
        self._warmer = warmer
        self._store = store
        self._witness = witness
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._visibility_s = visibility_s
        self._taken_at_most = taken_at_most
        self._wait_s = wait_s
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._slots = Slots(
            at_once,
            most_waiting=max(1, (taken_at_most - at_once) * 3 // 4),
            monotonic_s=time.monotonic,
            rate_bytes_per_s=warmer.traffic.bytes_per_s,
            is_stopping=self._stop.is_set,
        )
        self._changed = threading.Condition()
        self._active: dict[ActiveOrder, threading.Thread] = {}
        self._loop = threading.Thread(target=self._receive_orders, name="orders")
        self._heart = threading.Thread(target=self._beat, name="heartbeat")

    @property
    def is_running(self) -> bool:
        """True while orders are received."""
        return self._loop.is_alive() and not self._stop.is_set()

    @property
    def taken(self) -> int:
        """How many warm orders it has taken and not ended."""
        with self._changed:
            return len(self._active)

    @property
    def waiting(self) -> int:
        """How many of them wait for a place."""
        return self._slots.waiting

    def start(self) -> None:
        """Begin to receive orders."""
        self._loop.start()
        self._heart.start()

    def stop(self) -> None:
        """Receive nothing more, give back what is under way, and return when all is quiet."""
        self._stop.set()
        self._slots.wake()
        with self._changed:
            self._changed.notify_all()
        self._loop.join()
        with self._changed:
            threads = list(self._active.values())
        for thread in threads:
            thread.join()
        self._ended.set()
        self._heart.join()

    def _receive_orders(self) -> None:
        pause_s = 1.0
        try:
            while not self._stop.is_set():
                self._wait_for_room()
                if attempted("receiving orders", self._receive):
                    pause_s = 1.0
                else:
                    self._stop.wait(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            self._store.close_thread()

    def _wait_for_room(self) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._active) < self._taken_at_most or self._stop.is_set()
            )

    def _receive(self) -> None:
        if self._stop.is_set():
            return
        for received in self._orders.receive(wait_s=self._wait_s):
            try:
                self._take(received)
            except InvalidPayloadError as error:
                # Left on the queue: its redrive policy moves it to the dead-letter queue.
                _LOG.error("an order was refused: %s", error)

    def _take(self, received: ReceivedOrder) -> None:
        order = read_order(received.body, node=self._node)
        if isinstance(order, PurgeOrder):
            self._purge(order, received.receipt)
            return
        active = ActiveOrder(
            order,
            received.receipt,
            orders=self._orders,
            tasks=self._tasks,
            progress=self._progress,
        )
        thread = threading.Thread(target=self._carry_out, args=(active,), name="order")
        with self._changed:
            self._active[active] = thread
        thread.start()

    def _purge(self, order: PurgeOrder, receipt: str) -> None:
        def purge() -> None:
            forget = partial(
                self._store.purge, order.origin_id, order.image_set_id, order.below_version
            )
            if self._witness is None:
                forget()
            else:
                self._witness.purge(order, forget)
            self._orders.delete(receipt)

        attempted("a purge", purge)  # else the order stays on the queue and comes again

    def _carry_out(self, active: ActiveOrder) -> None:
        try:
            with about(order=active.order.prefetch_id, event_id=active.order.event_id):
                self._warm(active)
        finally:
            with self._changed:
                del self._active[active]
                self._changed.notify_all()
            self._store.close_thread()

    def _warm(self, active: ActiveOrder) -> None:
        _LOG.info("an order begins, %s", active.order.priority)
        try:
            outcome = self._outcome(active)
        except PrefetchError as error:
            _LOG.warning("an order failed: %s: %s", type(error).__name__, error)
            active.fail(error)
            return
        if outcome is None:
            active.give_back()
        elif outcome.failure is not None:
            active.tell(outcome.report)
            active.fail(outcome.failure)
        else:
            _LOG.info("an order ends: %s", _words(outcome.report))
            active.succeed(outcome.report)

    def _outcome(self, active: ActiveOrder) -> Outcome | None:
        """How the order ended; None if the node stopped first."""
        plan = self._warmer.plan(active.order)
        now, now_s = self._clock(), time.monotonic()
        claim = claim_of(active.order, plan, now=now, now_s=now_s)
        with self._slots.place(claim) as is_admitted:
            if self._stop.is_set():
                return None
            return self._warmer.run(
                active.order,
                plan=plan,
                tell=active.tell,
                stop=self._stop,
                waiting=lambda: self._slots.waiting,
                is_in_vain=not is_admitted,
            )

    def _beat(self) -> None:
        beat = methodcaller("beat", visibility_s=self._visibility_s, clock=self._clock)
        with ThreadPoolExecutor(_BEATING_AT_ONCE, thread_name_prefix="heartbeat") as threads:
            while not self._ended.wait(self._heartbeat_s):
                with self._changed:
                    active = list(self._active)
                list(threads.map(beat, active))


def _words(report: WarmReport) -> str:
    proven = f"{report.frames_verified} of {report.frames_planned} frames proven"
    return f"{report.state}, {proven}, {report.bytes_fetched} bytes fetched"
