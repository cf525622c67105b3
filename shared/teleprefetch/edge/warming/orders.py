"""Reads a message off a node's queue, and keeps track of an order while it is carried out."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from pydantic_core import from_json

from teleprefetch.edge.watching.logs import about
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.model import PurgeOrder, WarmOrder, WarmReport
from teleprefetch.ports import Clock, Orders, Progress, Tasks

_LOG: Final = logging.getLogger(__name__)


def read_order(body: str, *, node: str) -> WarmOrder | PurgeOrder:
    """The order in a message.

    Raises:
        InvalidPayloadError: it is no order, or another node's.
    """
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise InvalidPayloadError("order: not JSON") from None
    kind = document.get("kind") if isinstance(document, dict) else None
    order: WarmOrder | PurgeOrder
    if kind == "warm":
        order = WarmOrder.parse(document, at="order")
        if order.give_up_at.tzinfo is None:
            raise InvalidPayloadError("order.give_up_at: without an offset")
    elif kind == "purge":
        order = PurgeOrder.parse(document, at="order")
    else:
        raise InvalidPayloadError("order.kind: neither warm nor purge")
    if order.node != node:
        raise InvalidPayloadError("order.node: another node's")
    return order


def attempted(what: str, action: Callable[[], Any]) -> bool:
    """Tell whether an action went well; if not, it is in the log and comes again later."""
    try:
        action()
    except PrefetchError as error:
        _LOG.warning("%s failed: %s: %s", what, type(error).__name__, error)
        return False
    return True


class ActiveOrder:
    """A warm order that this node has taken: kept from others, and answered once.

    Args:
        order: the order.
        receipt: what the queue knows it by.
        orders: the queue.
        tasks: the task that waits.
        progress: where reports go.
    """

    def __init__(
        self, order: WarmOrder, receipt: str, *, orders: Orders, tasks: Tasks, progress: Progress
    ) -> None:
        self.order = order
        self.receipt = receipt
        self._orders = orders
        self._tasks = tasks
        self._progress = progress
        self._lock = threading.Lock()
        self._report: WarmReport | None = None
        self._is_awaited = True
        self._waiter = order.waiter

    def tell(self, report: WarmReport) -> None:
        """Report how far the order is; a report that cannot be sent holds nothing up.

        Whoever waits for the required studies is told once they are proven, after the report that
        says so: the notice is made from reports. A report is never older than what a heartbeat has
        said since it was made, or the newer word would stand.
        """
        with self._lock:
            report = self._report = _not_before(self._report, report)
            is_sent = attempted("a report", lambda: self._progress.report(report))
            if is_sent and report.required_warm and self._waiter:
                self._tell_waiter(report.prefetch_id)

    def _tell_waiter(self, prefetch_id: str) -> None:
        answer = {"prefetch_id": prefetch_id, "state": "required warm", "cause": ""}
        if attempted("a word to who waits", lambda: self._tasks.succeed(self._waiter, answer)):
            self._waiter = ""

    def beat(self, *, visibility_s: int, clock: Clock) -> None:
        """Say that work goes on: to the task, to the queue, and in a report."""
        with about(order=self.order.prefetch_id, event_id=self.order.event_id):
            self._beat(visibility_s=visibility_s, clock=clock)

    def _beat(self, *, visibility_s: int, clock: Clock) -> None:
        if self._is_awaited:
            attempted("a heartbeat", self._heartbeat)
        attempted(
            "an extension",
            lambda: self._orders.extend(self.receipt, visibility_s=visibility_s),
        )
        with self._lock:
            if self._report is not None and self._report.state == "warming":
                at = max(clock(), self._report.reported_at)
                report = self._report = self._report.model_copy(update={"reported_at": at})
                attempted("a report", lambda: self._progress.report(report))

    def succeed(self, report: WarmReport) -> None:
        """Report for the last time, answer the task with counts, and take the order off.

        An answer that cannot be given leaves the order on the queue: it comes again, and costs
        little, for the bytes are here.
        """
        self.tell(report)
        output = {
            "prefetch_id": report.prefetch_id,
            "node": report.node,
            "state": report.state,
            "frames_planned": report.frames_planned,
            "frames_warmed": report.frames_warmed,
            "frames_verified": report.frames_verified,
            "frames_fetched": report.frames_fetched,
            "bytes_warmed": report.bytes_warmed,
            "bytes_fetched": report.bytes_fetched,
        }
        self._answer(lambda: self._tasks.succeed(self.order.task_token, output))

    def fail(self, error: PrefetchError) -> None:
        """Fail the task with the error's name, and take the order off."""
        token, name = self.order.task_token, type(error).__name__
        self._answer(lambda: self._tasks.fail(token, error=name, cause=str(error)))

    def give_back(self) -> None:
        """Let another take the order at once."""
        attempted("a return", lambda: self._orders.extend(self.receipt, visibility_s=0))

    def _answer(self, answer: Callable[[], bool]) -> None:
        if self._is_awaited and not attempted("an answer", lambda: self._await(answer)):
            return
        attempted("a deletion", lambda: self._orders.delete(self.receipt))

    def _heartbeat(self) -> None:
        self._await(lambda: self._tasks.heartbeat(self.order.task_token))

    def _await(self, call: Callable[[], bool]) -> None:
        if not call():
            self._is_awaited = False
            _LOG.info("nobody waits for an order any more; its bytes are kept")


def _not_before(told: WarmReport | None, report: WarmReport) -> WarmReport:
    """A report, of the time of the one before it if that is later."""
    if told is None or told.reported_at <= report.reported_at:
        return report
    return report.model_copy(update={"reported_at": told.reported_at})
