"""The demo in a terminal: events, machines, ranked priors, nodes, the notice and the proof.

On a terminal the picture is redrawn as things happen; anywhere else each thing is one line.
`NO_COLOR` is honoured by rich.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from teleprefetch.local.demo_lines import lines_between
from teleprefetch.local.demo_state import (
    DemoState,
    MachineState,
    NodeProgress,
    Notice,
    PriorRow,
    day,
    megabytes,
    printable,
)

_SHOWN, _SHOWN_IF_SHORT = 5, 3
_FEWEST_PRIORS = 2
_TALL, _WIDE = 32, 110
_FATES = {"warm": "green", "taken": "yellow", "left out": "dim"}
_ENDS = {"SUCCEEDED": "green", "FAILED": "red", "TIMED_OUT": "red", "ABORTED": "red"}


def picture(
    state: DemoState, *, now: datetime, width: int, height: int | None = None
) -> RenderableType:
    """The whole picture; with a `height`, older events and the least useful priors make way.

    Without one nothing is shortened but the list of events.
    """
    shown = _SHOWN if height is None or height >= _TALL else _SHOWN_IF_SHORT
    parts = [_above(state, width, shown)]
    if state.ranked:
        rows = (
            None if height is None else max(_FEWEST_PRIORS, height - _others(state, width, shown))
        )
        parts.append(_priors(state.ranked, rows))
    if state.nodes or state.deadline is not None:
        parts.append(_nodes(state, now))
    if state.released is not None:
        parts.append(Text(printable(state.released.sentence), style="bold"))
    for outcome in (state.verified, state.accessed):
        if outcome is not None:
            style = "bold green" if outcome.passed else "bold red"
            parts.append(Text(printable(outcome.sentence), style=style))
    return Group(*parts)


def _others(state: DemoState, width: int, shown: int) -> int:
    """How many lines all but the rows of the priors take, at most."""
    events = min(max(len(state.events), 1), shown) + 2
    machines = min(max(len(state.machines), 1), shown) + 2
    above = max(events, machines) if width >= _WIDE else events + machines
    table, nodes, sentences = 3, len(state.nodes) + 3, 5
    return above + table + nodes + sentences


def _above(state: DemoState, width: int, shown: int) -> RenderableType:
    panels = (_events(state, shown), _machines(state, shown))
    if width < _WIDE:
        return Group(*panels)
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid


def _events(state: DemoState, shown: int) -> Panel:
    lines = [
        Text.assemble((f"{event.time:%H:%M:%S}  ", "dim"), printable(event.detail_type))
        for event in state.events[-shown:]
    ]
    return Panel(
        Group(*lines) if lines else Text("none yet", style="dim"),
        title=f"Events ({len(state.events)})",
        title_align="left",
    )


def _machines(state: DemoState, shown: int) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="dim", max_width=24)
    grid.add_column(no_wrap=True)
    for machine in state.machines[-shown:]:
        grid.add_row(*_cells(machine))
    return Panel(
        grid if state.machines else Text("none yet", style="dim"),
        title=f"State machines ({len(state.machines)})",
        title_align="left",
    )


def _cells(machine: MachineState) -> tuple[Text, Text, Text]:
    return (
        Text(printable(machine.machine)),
        Text(printable(machine.execution)),
        Text(printable(machine.state), style=_ENDS.get(machine.state, "cyan")),
    )


def _priors(ranked: tuple[PriorRow, ...], rows: int | None) -> Panel:
    """The table of priors, cut to `rows` of one line each, or in full with all words."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("date", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("study", no_wrap=rows is not None, ratio=3)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("fate", no_wrap=True, min_width=8)
    table.add_column("why", no_wrap=rows is not None, ratio=4)
    for row in ranked[:rows]:
        table.add_row(
            str(row.rank),
            day(row.study_date),
            Text(printable(row.modality)),
            Text(printable(row.description)),
            f"{row.score:.0f}",
            Text(row.fate, style=_FATES[row.fate]),
            Text(printable(row.reason)),
        )
    left = 0 if rows is None else len(ranked) - rows
    return Panel(
        table,
        title=f"Priors ({len(ranked)})",
        title_align="left",
        subtitle=f"and {left} more" if left > 0 else None,
        subtitle_align="left",
    )


def _nodes(state: DemoState, now: datetime) -> Panel:
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, max_width=16)
    grid.add_column(ratio=1, min_width=8)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for node in state.nodes:
        grid.add_row(*_node(node))
    if state.deadline is not None and state.assigned_at is not None:
        until = state.released.released_at if state.released is not None else now
        total_s = max((state.deadline - state.assigned_at).total_seconds(), 0.001)
        left_s = (state.deadline - until).total_seconds()
        bar = ProgressBar(
            total=total_s,
            completed=min(max(total_s - left_s, 0), total_s),
            complete_style="magenta",
            finished_style="red",
        )
        words = f"{left_s:.1f} s left" if left_s >= 0 else f"{-left_s:.1f} s over"
        grid.add_row(Text("deadline", style="dim"), bar, words, "", "")
    return Panel(grid, title="Nodes", title_align="left")


def _node(node: NodeProgress) -> tuple[RenderableType, ...]:
    bar = ProgressBar(
        total=max(node.frames_planned, 1),
        completed=min(node.frames_warmed, max(node.frames_planned, 1)),
        complete_style="cyan",
        finished_style="green",
    )
    return (
        Text(printable(node.node)),
        bar,
        f"{node.frames_warmed}/{node.frames_planned} frames",
        f"{node.frames_verified} verified",
        f"{megabytes(node.bytes_warmed)}/~{megabytes(node.bytes_planned)} MB",
    )


class DemoView:
    """Shows the state as it changes; its calls may come from any thread.

    Use it as a context manager: what is on the screen at its end stays there, in full.
    """

    def __init__(self, console: Console, *, clock: Callable[[], datetime]) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._state = DemoState()
        self._ended = False
        redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = (
            Live(console=console, get_renderable=self._picture, refresh_per_second=8)
            if redraws
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        if self._live is not None:
            self._live.stop()

    @property
    def state(self) -> DemoState:
        """The state as it is shown now."""
        return self._state

    def event_seen(self, time: datetime, detail_type: str) -> None:
        """Show an event."""
        self._change(lambda state: state.event_seen(time, detail_type))

    def assigned(self, *, at: datetime, deadline: datetime) -> None:
        """Show the time until the deadline."""
        self._change(lambda state: state.assigned(at=at, deadline=deadline))

    def machine_state(self, *, machine: str, execution: str, state: str) -> None:
        """Show which state an execution is in."""
        self._change(
            lambda shown: shown.machine_state(machine=machine, execution=execution, state=state)
        )

    def priors(self, rows: tuple[PriorRow, ...]) -> None:
        """Show the ranked priors."""
        self._change(lambda state: state.priors(rows))

    def progress(self, node: NodeProgress) -> None:
        """Show how far a node is."""
        self._change(lambda state: state.progress(node))

    def notice(self, *, reason: str, released_at: datetime, deadline: datetime, why: str) -> None:
        """Show that the notice went out."""
        notice = Notice(reason, released_at, deadline, why)
        self._change(lambda state: state.notice(notice))

    def verification(self, *, compared: int, differing: int) -> None:
        """Show how the node's frames compare with the archive's."""
        self._change(lambda state: state.verification(compared=compared, differing=differing))

    def access(self, sentence: str, *, passed: bool) -> None:
        """Show who was given what."""
        self._change(lambda state: state.access(sentence, passed=passed))

    def _change(self, change: Callable[[DemoState], DemoState]) -> None:
        with self._lock:
            before, self._state = self._state, change(self._state)
            if self._live is None:
                for line in lines_between(before, self._state):
                    self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    # Called by the redrawing thread, under rich's lock: it takes none of ours, the state is frozen.
    def _picture(self) -> RenderableType:
        size = self._console.size
        height = None if self._ended else size.height
        return picture(self._state, now=self._clock(), width=size.width, height=height)
