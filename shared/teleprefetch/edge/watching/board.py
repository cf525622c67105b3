"""Counters that the processes of a node share, and what they mean to Prometheus."""

import mmap
import os
from bisect import bisect_left
from collections import Counter
from enum import IntEnum, auto
from typing import Final

from teleprefetch.edge.watching.access import Note

_WORD_BYTES: Final = 8
_REFUSALS: Final = 400
_BUCKETS_US: Final = (500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000)


class Figure(IntEnum):
    """What is counted; each process counts its own, and readers add them up."""

    READY = 0
    RESIDENT_BYTES = auto()
    CONNECTIONS = auto()
    CONNECTIONS_REFUSED = auto()
    CONNECTIONS_EVICTED = auto()
    CONNECTIONS_TIMED_OUT = auto()
    ANSWERS_CUT = auto()
    BODY_BYTES = auto()
    LOG_LINES_DROPPED = auto()
    FROM_MEMORY = auto()
    FROM_STORE = auto()
    FROM_ORIGIN = auto()
    CONTENT_HITS = auto()
    CONTENT_MISSES = auto()
    STATUS_2XX = auto()
    STATUS_3XX = auto()
    STATUS_4XX = auto()
    STATUS_5XX = auto()
    AUDIT_FAILING = auto()
    AUDIT_GAP = auto()
    AUDIT_OWED = auto()
    AUDIT_DENIED = auto()
    CHECKPOINTS_UNSENT = auto()
    AUDIT_FORKED = auto()
    WORKER_AUDIT_FAILING = auto()
    WORKER_AUDIT_GAP = auto()
    WORKER_AUDIT_OWED = auto()
    WORKER_AUDIT_DENIED = auto()
    WORKER_CHECKPOINTS_UNSENT = auto()
    WORKER_AUDIT_FORKED = auto()
    READS_THROTTLED = auto()
    DURATION_US = auto()
    BUCKETS = auto()


_FIGURES: Final = Figure.BUCKETS + len(_BUCKETS_US) + 1
_PLAIN: Final = (
    (Figure.CONNECTIONS, "gauge", "connections", "open connections"),
    (Figure.RESIDENT_BYTES, "gauge", "resident_memory_bytes", "resident memory of all processes"),
    (Figure.CONNECTIONS_REFUSED, "counter", "connections_refused_total", "connections over a cap"),
    (
        Figure.CONNECTIONS_EVICTED,
        "counter",
        "connections_evicted_total",
        "idle ones that made room",
    ),
    (Figure.CONNECTIONS_TIMED_OUT, "counter", "connections_timed_out_total", "past a deadline"),
    (Figure.ANSWERS_CUT, "counter", "answers_cut_total", "answers that did not reach their end"),
    (Figure.BODY_BYTES, "counter", "body_bytes_total", "bytes of bodies answered"),
    (Figure.CONTENT_HITS, "counter", "content_hits_total", "content answered from the store"),
    (Figure.CONTENT_MISSES, "counter", "content_misses_total", "content fetched for a reader"),
    (Figure.AUDIT_FAILING, "gauge", "audit_failing", "processes whose answers go unrecorded"),
    (Figure.WORKER_AUDIT_FAILING, "gauge", "worker_audit_failing", "whether warming does"),
    (Figure.AUDIT_OWED, "gauge", "audit_owed", "events that are not written yet"),
    (Figure.WORKER_AUDIT_OWED, "gauge", "worker_audit_owed", "those of warming"),
    (Figure.AUDIT_DENIED, "counter", "audit_denied_total", "requests that could not be recorded"),
    (Figure.CHECKPOINTS_UNSENT, "gauge", "audit_checkpoints_unsent", "checkpoints here alone"),
    (
        Figure.WORKER_CHECKPOINTS_UNSENT,
        "gauge",
        "worker_audit_checkpoints_unsent",
        "those of warming",
    ),
    (Figure.AUDIT_FORKED, "gauge", "audit_forked", "lanes that were cut or restored"),
    (Figure.WORKER_AUDIT_FORKED, "gauge", "worker_audit_forked", "whether that of warming was"),
    (
        Figure.READS_THROTTLED,
        "counter",
        "reads_throttled_total",
        "what readers did not get as the archive throttled",
    ),
    (Figure.LOG_LINES_DROPPED, "counter", "log_lines_dropped_total", "access log lines dropped"),
)
_SOURCES: Final = (
    (Figure.FROM_MEMORY, "memory"),
    (Figure.FROM_STORE, "store"),
    (Figure.FROM_ORIGIN, "origin"),
)
_STATUSES: Final = (
    (Figure.STATUS_2XX, "2xx"),
    (Figure.STATUS_3XX, "3xx"),
    (Figure.STATUS_4XX, "4xx"),
    (Figure.STATUS_5XX, "5xx"),
)


_FIGURE_OF: Final = {name: figure for figure, name in _SOURCES}
_CONTENT: Final = frozenset({"frames", "metadata", "bulkdata", "instance", "rendered", "thumbnail"})


class Board:
    """The counters of all processes, in memory they share; this process writes its own slot.

    Args:
        slots: how many processes there may be.
        slot: which one this is.
        descriptor: the shared memory, from the process that made it; without, it is made.
    """

    def __init__(self, slots: int = 1, *, slot: int = 0, descriptor: int | None = None) -> None:
        self.slots = slots
        size = slots * _FIGURES * _WORD_BYTES
        self.descriptor = os.memfd_create("figures") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        self._words = memoryview(self._memory).cast("Q")
        self._base = slot * _FIGURES

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)

    def add(self, figure: int, count: int = 1) -> None:
        """Count."""
        self._words[self._base + figure] += count

    def put(self, figure: Figure, value: int) -> None:
        """Set a gauge."""
        self._words[self._base + figure] = value

    def answered(self, notes: list[Note]) -> None:
        """Count some answers."""
        for status, number in Counter(note.status // 100 for note in notes).items():
            self.add(Figure.STATUS_2XX + status - 2, number)
        for source, number in Counter(note.source for note in notes).items():
            self.add(_FIGURE_OF[source], number)
        content = Counter(
            note.source == "origin"
            for note in notes
            if note.kind in _CONTENT and note.status < _REFUSALS
        )
        self.add(Figure.CONTENT_HITS, content[False])
        self.add(Figure.CONTENT_MISSES, content[True])
        self.add(Figure.BODY_BYTES, sum(note.length_bytes for note in notes))
        self.add(Figure.DURATION_US, sum(note.duration_us for note in notes))
        for bucket, number in Counter(
            bisect_left(_BUCKETS_US, note.duration_us) for note in notes
        ).items():
            self.add(Figure.BUCKETS + bucket, number)

    def total(self, figure: int) -> int:
        """A figure, over all processes."""
        return sum(self._words[figure::_FIGURES])

    @property
    def is_ready(self) -> bool:
        """Whether the process that takes orders says that it does."""
        return bool(self._words[Figure.READY])

    @property
    def is_audit_failing(self) -> bool:
        """Whether some process of the node cannot write its audit."""
        figures = (Figure.AUDIT_FAILING, Figure.WORKER_AUDIT_FAILING)
        return any(self.total(figure) for figure in figures)

    def measure_memory(self) -> None:
        """Take this process' resident memory down (proc(5), statm)."""
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # once a second
            pages = int(file.read().split()[1])
        self.put(Figure.RESIDENT_BYTES, pages * mmap.PAGESIZE)

    def prometheus(self) -> list[str]:
        """All figures in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        for figure, kind, name, help_text in _PLAIN:
            lines += _described(name, kind, help_text)
            lines.append(f"teleprefetch_{name} {self.total(figure)}")
        lines += _described("answers_total", "counter", "answers by class of status")
        for figure, status in _STATUSES:
            lines.append(f'teleprefetch_answers_total{{status="{status}"}} {self.total(figure)}')
        lines += _described("answers_by_source_total", "counter", "where answers came from")
        for figure, source in _SOURCES:
            lines.append(
                f'teleprefetch_answers_by_source_total{{source="{source}"}} {self.total(figure)}'
            )
        return lines + self._durations()

    def _durations(self) -> list[str]:
        name = "teleprefetch_answer_seconds"
        lines = _described("answer_seconds", "histogram", "from a request's end to its answer's")
        count = 0
        for number, bound_us in enumerate(_BUCKETS_US):
            count += self.total(Figure.BUCKETS + number)
            lines.append(f'{name}_bucket{{le="{bound_us / 1e6:g}"}} {count}')
        count += self.total(Figure.BUCKETS + len(_BUCKETS_US))
        lines.append(f'{name}_bucket{{le="+Inf"}} {count}')
        lines.append(f"{name}_sum {self.total(Figure.DURATION_US) / 1e6}")
        lines.append(f"{name}_count {count}")
        return lines


def _described(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP teleprefetch_{name} {help_text}", f"# TYPE teleprefetch_{name} {kind}"]
