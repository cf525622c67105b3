"""A node's measures as lines of its log that CloudWatch makes metrics of.

Source: CloudWatch user guide, "Specification: Embedded metric format"; "Using the PutLogEvents API
to send manually-created embedded metric format logs": whatever sends the log needs no header for
it. The log's own permissions are enough, and nothing waits for CloudWatch.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

from teleprefetch.errors import PrefetchError

_LOG: Final = logging.getLogger(__name__)
_STDERR: Final = 2
_EVERY_S: Final = 60.0
Unit = Literal["Count", "Percent", "Seconds"]


class Measure(NamedTuple):
    """A figure and its unit."""

    value: float
    unit: Unit


def metrics_line(
    measures: Mapping[str, Measure], *, namespace: str, node: str, at: datetime
) -> str:
    """The line of all measures of a moment, by the node; a hundred of them at most."""
    directive = {
        "Namespace": namespace,
        "Dimensions": [["node"]],
        "Metrics": [{"Name": name, "Unit": one.unit} for name, one in measures.items()],
    }
    metadata = {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    values = {name: one.value for name, one in measures.items()}
    return json.dumps({"_aws": metadata, "node": node, **values}) + "\n"


class MetricsLog:
    """Writes a line each minute, and one at the end.

    Args:
        take: takes the measures since the last time.
        namespace: CloudWatch's name for them all.
        node: the node's name.
        clock: the time.
        at_thread_end: called by the thread as it ends.
        descriptor: where lines are written, beside the other logs.
        every_s: how often.
    """

    def __init__(
        self,
        take: Callable[[], Mapping[str, Measure]],
        *,
        namespace: str,
        node: str,
        clock: Callable[[], datetime],
        at_thread_end: Callable[[], None],
        descriptor: int = _STDERR,
        every_s: float = _EVERY_S,
    ) -> None:
        self._take = take
        self._namespace = namespace
        self._node = node
        self._clock = clock
        self._at_thread_end = at_thread_end
        self._descriptor = descriptor
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Write what there is since the last line, and end."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._every_s):
                self._write()
            self._write()
        finally:
            self._at_thread_end()

    def _write(self) -> None:
        try:
            measures = self._take()
            line = metrics_line(
                measures, namespace=self._namespace, node=self._node, at=self._clock()
            )
            view = memoryview(line.encode())
            while view:
                view = view[os.write(self._descriptor, view) :]
        except (PrefetchError, OSError) as error:
            _LOG.warning("the node's metrics are not written: %s", type(error).__name__)
