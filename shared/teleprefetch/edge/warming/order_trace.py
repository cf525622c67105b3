"""The trace of one warm order: a span of it, and one of each group of what it fetches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from teleprefetch.edge.warming.asking import METADATA
from teleprefetch.edge.watching.tracing import Span, Tracing
from teleprefetch.model import Plan, WarmOrder, WarmReport


class Traced(Protocol):
    """Takes down what an order fetches."""

    def asked(self, at: int, number: int) -> None:
        """That many pieces of a group are fetched; `at` METADATA is the group of all metadata."""

    def came(self, at: int, *, fetched_bytes: int = 0, is_failed: bool = False) -> None:
        """A piece of a group came, or failed for good."""

    def ended(self, report: WarmReport | None, *, error: str = "") -> None:
        """The order ended; None: it was given back."""


class Untraced:
    """Takes nothing down."""

    def asked(self, at: int, number: int) -> None:
        """Nothing."""

    def came(self, at: int, *, fetched_bytes: int = 0, is_failed: bool = False) -> None:
        """Nothing."""

    def ended(self, report: WarmReport | None, *, error: str = "") -> None:
        """Nothing."""


@contextmanager
def traced(tracing: Tracing | None, order: WarmOrder, plan: Plan) -> Iterator[Traced]:
    """The trace of an order, ended with it; without tracing one that takes nothing down."""
    if tracing is None:
        yield Untraced()
        return
    trace = OrderTrace(tracing, order, plan)
    try:
        yield trace
    finally:
        trace.close()


@dataclass(slots=True)
class _Group:
    span: Span
    left: int
    came: int = 0
    fetched_bytes: int = 0
    failed: int = 0

    def end(self) -> None:
        self.span.end(
            came=self.came,
            failed=self.failed,
            not_awaited=self.left,
            fetched_bytes=self.fetched_bytes,
        )


class OrderTrace:
    """For the order's thread.

    A group is the metadata of all series, or the frames of one series, by its position in the
    plan. It lasts from when it is first asked for until the last of it came.

    Args:
        tracing: where spans go.
        order: whose trace it is.
        plan: its plan.
    """

    def __init__(self, tracing: Tracing, order: WarmOrder, plan: Plan) -> None:
        self._span = tracing.begin(
            "warm order",
            order=order.prefetch_id,
            event_id=order.event_id,
            node=order.node,
            priority=order.priority,
            series=len(plan.series),
        )
        self._plan = plan
        self._groups: dict[int, _Group] = {}
        self._is_ended = False

    def asked(self, at: int, number: int) -> None:
        """That many pieces of a group are fetched; `at` METADATA is the group of all metadata."""
        if not number:
            return
        if at == METADATA:
            span = self._span.begin("fetch metadata", asked=number)
        else:
            rank = self._plan.series[at].rank
            span = self._span.begin("fetch frames", series=at + 1, rank=rank, asked=number)
        self._groups[at] = _Group(span, number)

    def came(self, at: int, *, fetched_bytes: int = 0, is_failed: bool = False) -> None:
        """A piece of a group came, or failed for good."""
        group = self._groups.get(at)
        if group is None:
            return
        group.left -= 1
        group.failed += is_failed
        group.came += not is_failed
        group.fetched_bytes += fetched_bytes
        if group.left <= 0:
            del self._groups[at]
            group.end()

    def ended(self, report: WarmReport | None, *, error: str = "") -> None:
        """The order ended; None: it was given back."""
        self._end_groups()
        self._is_ended = True
        if report is None:
            self._span.end(outcome="given back")
            return
        self._span.end(
            error=error,
            outcome=report.state,
            frames_planned=report.frames_planned,
            frames_verified=report.frames_verified,
            frames_fetched=report.frames_fetched,
            fetched_bytes=report.bytes_fetched,
        )

    def close(self) -> None:
        """End it as broken, if nothing told how it ended."""
        if not self._is_ended:
            self._end_groups()
            self._span.end(error="broken", outcome="broken")

    def _end_groups(self) -> None:
        for group in self._groups.values():
            group.end()
        self._groups.clear()
