"""What a node is about, as values that hold nothing of a patient: what is warm, and for whom."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from pydantic import computed_field

from teleprefetch.domain.lateness import FORECAST
from teleprefetch.edge.store.attributes import text_of
from teleprefetch.edge.store.rows import SeriesRow
from teleprefetch.model import Instant, ReportState, Role, Value, WarmReport

_MOST_STUDIES: Final = 50
_ENDING: Final = 8


class Held(Protocol):
    """The part of the store that a status is made from."""

    def rows(self) -> list[SeriesRow]:
        """Every series held, oldest first."""

    def counts(self, row: SeriesRow) -> tuple[int, int]:
        """How many frames of a series are held, and how many of those verified."""

    def used_bytes(self) -> int:
        """What the store takes on the disk."""


class StoreFill(Value):
    """How full the store is."""

    used_bytes: int
    limit_bytes: int
    studies: int
    series: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented way; mypy #1362
    @property
    def share(self) -> float:
        """The used part of the limit, from 0 to 1."""
        return round(self.used_bytes / self.limit_bytes, 4)


class Served(Value):
    """How many answers came from the store, and how many had to be fetched, since the start."""

    hits: int
    misses: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_rate(self) -> float | None:
        """Hits of all, from 0 to 1; None before the first."""
        asked = self.hits + self.misses
        return round(self.hits / asked, 4) if asked else None


class WarmStudy(Value):
    """One study that is held.

    `study` is a digest of its UID, the same on every node; `uid_ending` the end of the UID, where
    it may be shown. `order` is the newest order that named the study, and `role` what it is there.
    `frames_verified` counts those that this process has read back since it started.
    """

    study: str
    uid_ending: str | None
    origin_id: str
    modalities: tuple[str, ...]
    order: str | None
    role: Role | None
    series: int
    frames_held: int
    frames_verified: int
    size_bytes: int
    stored_at: Instant


class RecentOrder(Value):
    """How one of the last orders stands; `forecast` is empty unless it is under way."""

    order: str
    state: ReportState
    study: str | None
    priors: int
    frames_planned: int
    frames_verified: int
    bytes_fetched: int
    forecast: str = ""
    problems: tuple[str, ...]
    reported_at: Instant


class NodeStatus(Value):
    """All of it at one moment; `studies` are the newest, `studies_not_listed` how many more."""

    node: str
    at: Instant
    takes_orders: bool
    store: StoreFill
    served: Served
    studies: tuple[WarmStudy, ...]
    studies_not_listed: int
    orders: tuple[RecentOrder, ...]


class StatusSource:
    """Makes a node's status whenever it is asked for.

    Args:
        node: the node's name.
        store: what is held.
        limit_bytes: how much it may be.
        served: how many hits and misses there were.
        recent: the last reports of the last orders, newest first.
        takes_orders: whether the node does.
        clock: the time.
    """

    def __init__(
        self,
        *,
        node: str,
        store: Held,
        limit_bytes: int,
        served: Callable[[], Served],
        recent: Callable[[], Sequence[WarmReport]],
        takes_orders: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._store = store
        self._limit_bytes = limit_bytes
        self._served = served
        self._recent = recent
        self._takes_orders = takes_orders
        self._clock = clock

    def status(self, *, with_uid_endings: bool) -> NodeStatus:
        """The status of this moment."""
        reports = self._recent()
        rows_of = _by_study(self._store.rows())
        listed = list(rows_of.items())[:_MOST_STUDIES]
        return NodeStatus(
            node=self._node,
            at=self._clock(),
            takes_orders=self._takes_orders(),
            store=StoreFill(
                used_bytes=self._store.used_bytes(),
                limit_bytes=self._limit_bytes,
                studies=len(rows_of),
                series=sum(map(len, rows_of.values())),
            ),
            served=self._served(),
            studies=tuple(
                self._study(uid, rows, reports, with_uid_endings) for uid, rows in listed
            ),
            studies_not_listed=len(rows_of) - len(listed),
            orders=tuple(map(_order, reports)),
        )

    def _study(
        self, uid: str, rows: list[SeriesRow], reports: Sequence[WarmReport], with_ending: bool
    ) -> WarmStudy:
        order, role = _named_by(uid, reports)
        counts = [self._store.counts(row) for row in rows]
        return WarmStudy(
            study=digest_of(uid),
            uid_ending=uid[-_ENDING:] if with_ending else None,
            origin_id=rows[0].origin_id,
            modalities=tuple(sorted({text_of(row.attributes, "00080060") for row in rows} - {""})),
            order=order,
            role=role,
            series=len(rows),
            frames_held=sum(held for held, _ in counts),
            frames_verified=sum(verified for _, verified in counts),
            size_bytes=sum(row.segment_bytes for row in rows),
            stored_at=datetime.fromtimestamp(max(row.stored_at for row in rows), UTC),
        )


def digest_of(study_instance_uid: str) -> str:
    """What a study is called where its UID may not be shown."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:12]


def _by_study(rows: list[SeriesRow]) -> dict[str, list[SeriesRow]]:
    """The rows of each study, the newest study first."""
    found: dict[str, list[SeriesRow]] = {}
    for row in reversed(rows):
        found.setdefault(row.series.study_instance_uid, []).append(row)
    return found


def _named_by(uid: str, reports: Sequence[WarmReport]) -> tuple[str | None, Role | None]:
    for report in reports:
        for study in report.studies:
            if study.study_instance_uid == uid:
                return report.prefetch_id, study.role
    return None, None


def _order(report: WarmReport) -> RecentOrder:
    current = [one for one in report.studies if one.role == "current"]
    return RecentOrder(
        order=report.prefetch_id,
        state=report.state,
        study=digest_of(current[0].study_instance_uid) if current else None,
        priors=len(report.studies) - len(current),
        frames_planned=report.frames_planned,
        frames_verified=report.frames_verified,
        bytes_fetched=report.bytes_fetched,
        forecast=next((one for one in report.problems if one.startswith(FORECAST)), ""),
        problems=report.problems,
        reported_at=report.reported_at,
    )
