"""What is under way right now: notices that wait, prefetches with their progress, last imports."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from teleprefetch.model import WarmReport
from teleprefetch.operate.replay_subjects import REPEAT
from teleprefetch.operate.site import Site
from teleprefetch.run_records import Run, RunFilter

MOST_SHOWN: Final = 25
_ENDED_FOR: Final = timedelta(hours=24)
_MOST_ENDED: Final = 10
_MOST_REPLAYS: Final = 5  # that are looked for; nobody replays the same much oftener
_THREADS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one prefetch is, and until when it is wanted; a notice may wait for it.

    `frames_proven` of `frames_planned` are at the node that is furthest, since any of a location's
    nodes serves its readers. `left` is negative once the deadline is over.
    """

    prefetch_id: str
    study_instance_uid: str | None
    reading_location: str | None
    begun_at: datetime
    notice: Run | None
    reports: tuple[WarmReport, ...]
    left: timedelta | None

    @property
    def frames_planned(self) -> int:
        """How many frames the order has; 0 until a node reports."""
        return max((one.frames_planned for one in self.reports), default=0)

    @property
    def frames_proven(self) -> int:
        """How many of them are proven at the furthest node."""
        return max((one.frames_verified for one in self.reports), default=0)

    @property
    def problems(self) -> tuple[str, ...]:
        """What nodes say is wrong."""
        return tuple(f"{one.node}: {text}" for one in self.reports for text in one.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """All of it; `is_more` says that there is more than is shown.

    `failed` are the newest prefetches and imports of a day that ended badly; `replayed`, by their
    names, what came of the last replay of those that were.
    """

    work: tuple[Progress, ...]
    imports: tuple[Run, ...]
    failed: tuple[Run, ...]
    replayed: Mapping[str, str]
    is_more: bool

    @property
    def waiting(self) -> int:
        """How many of the notices shown wait."""
        return sum(one.notice is not None for one in self.work)

    @property
    def overdue(self) -> int:
        """How many of those are past their deadline."""
        return sum(
            one.notice is not None and one.left is not None and one.left < timedelta(0)
            for one in self.work
        )


def under_way(site: Site, *, now: datetime) -> UnderWay:
    """Look once: seven queries of one page each by an index, and one or two for each run shown."""
    since = now - _ENDED_FOR
    with ThreadPoolExecutor(_THREADS) as several:
        asked = (
            RunFilter(kind="notice", outcome="waiting"),
            RunFilter(kind="prefetch", outcome="warming"),
            RunFilter(kind="import"),
            RunFilter(kind="prefetch", outcome="failed", since=since),
            RunFilter(kind="prefetch", outcome="cold", since=since),
            RunFilter(kind="prefetch", outcome="partial", since=since),
            RunFilter(kind="import", outcome="failed", since=since),
        )
        found = several.map(lambda wanted: site.runs.find(wanted, limit=MOST_SHOWN), asked)
        waiting, warming, imports, *failed = found
        begun = _joined(waiting, warming)
        reports = several.map(site.progress.reports, begun)
        work = [
            _progress(prefetch_id, *runs, told, now=now)
            for (prefetch_id, runs), told in zip(begun.items(), reports, strict=True)
        ]
        ended = sorted((run for some in failed for run in some), key=_newest)[:_MOST_ENDED]
        again = several.map(lambda run: _last_replay(site, run), ended)
        replayed = {
            run.run_id: last.outcome for run, last in zip(ended, again, strict=True) if last
        }
    return UnderWay(
        work=tuple(sorted(work, key=_urgency)),
        imports=imports[:_MOST_ENDED],
        failed=tuple(ended),
        replayed=replayed,
        is_more=MOST_SHOWN in {len(waiting), len(warming)},
    )


def _last_replay(site: Site, run: Run) -> Run | None:
    """The newest run that replayed this one from the start, by the names that replays have."""
    base, last = REPEAT.sub("", run.run_id), None
    for number in range(1, _MOST_REPLAYS + 1):
        found = site.runs.run(f"{base}-r{number}")
        if found is None:
            break
        last = found
    return last if last is None or last.run_id != run.run_id else None


def _joined(
    waiting: Sequence[Run], warming: Sequence[Run]
) -> dict[str, tuple[Run | None, Run | None]]:
    """The notice and the prefetch of each piece of work, by the prefetch's name."""
    prefetches = {run.run_id: run for run in warming}
    notices = {run.of or run.run_id: run for run in waiting}
    return {
        prefetch_id: (notices.get(prefetch_id), prefetches.get(prefetch_id))
        for prefetch_id in (*notices, *(one for one in prefetches if one not in notices))
    }


def _progress(
    prefetch_id: str,
    notice: Run | None,
    prefetch: Run | None,
    reports: tuple[WarmReport, ...],
    *,
    now: datetime,
) -> Progress:
    known = next(run for run in (notice, prefetch) if run is not None)
    deadline_at = notice.deadline_at if notice is not None else None
    return Progress(
        prefetch_id=prefetch_id,
        study_instance_uid=known.study_instance_uid,
        reading_location=known.reading_location,
        begun_at=known.at,
        notice=notice,
        reports=reports,
        left=deadline_at - now if deadline_at is not None else None,
    )


def _urgency(one: Progress) -> tuple[bool, timedelta, float]:
    return one.left is None, one.left or timedelta(0), -one.begun_at.timestamp()


def _newest(run: Run) -> float:
    return -run.at.timestamp()
