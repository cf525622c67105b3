"""Remembers the last report of each of the last orders, for the status page.

They lie in a file, so that every process of the node shows the same, also after a restart.
"""

import logging
import threading
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from teleprefetch.model import WarmReport
from teleprefetch.ports import Progress

_LOG: Final = logging.getLogger(__name__)
_REPORTS: Final = TypeAdapter(tuple[WarmReport, ...])


class RecentOrders:
    """A `Progress` that passes every report on and remembers the newest of each order.

    Args:
        progress: where reports go.
        path: the file; only one process writes it.
        most: how many orders are remembered.
    """

    def __init__(self, progress: Progress, path: Path, *, most: int = 20) -> None:
        self._progress = progress
        self._path = path
        self._most = most
        self._lock = threading.Lock()

    def report(self, report: WarmReport) -> None:
        """Record a report; an older one never replaces a newer."""
        self._progress.report(report)
        with self._lock:
            self._remember(report)

    def reports(self, prefetch_id: str) -> tuple[WarmReport, ...]:
        """The last report of each node for a prefetch."""
        return self._progress.reports(prefetch_id)

    def _remember(self, report: WarmReport) -> None:
        known = read_recent(self._path)
        if any(_is_newer(one, report) for one in known):
            return
        others = [one for one in known if one.prefetch_id != report.prefetch_id]
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(_REPORTS.dump_json((report, *others[: self._most - 1])))
            fresh.replace(self._path)
        except OSError as error:
            # A full disk: the order itself goes on, and the page shows the report before.
            _LOG.warning("the last orders cannot be written: errno %s", error.errno)


def read_recent(path: Path) -> tuple[WarmReport, ...]:
    """The last reports of the last orders, newest first; none if there was no order yet."""
    try:
        return _REPORTS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except ValidationError:
        _LOG.warning("the file of the last orders is damaged and begun anew")
        return ()


def _is_newer(one: WarmReport, than: WarmReport) -> bool:
    return one.prefetch_id == than.prefetch_id and one.reported_at > than.reported_at
