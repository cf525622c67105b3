"""What warming tells the reading list and the audit: who may read, what was warmed and purged."""

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.domain.policy.readings import Reading
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.store.attributes import text_of
from teleprefetch.edge.store.replacing import Purged
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.tally import SeriesTally
from teleprefetch.errors import PrefetchError
from teleprefetch.model import Plan, PurgeOrder, SeriesPointer, WarmOrder

_LOG: Final = logging.getLogger(__name__)
_MODALITY: Final = "00080060"
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,15}")  # a Code String (PS3.5 6.2), and no more of it


class Readings(Protocol):
    """Takes readings; `ReadingList` is one."""

    def put(self, reading: Reading) -> None:
        """Take in a reading.

        Raises:
            NodeUnavailableError: it cannot be written.
        """


class Witness:
    """Writes down what the worker does; what cannot be recorded now stops nothing.

    Args:
        readings: who may read what.
        log: the worker's lane of the audit; it keeps what it cannot write, and writes it late.
        store: tells whose image set is purged.
    """

    def __init__(self, readings: Readings, log: AuditLog, store: Store) -> None:
        self._readings = readings
        self._log = log
        self._store = store

    def begins(self, order: WarmOrder, plan: Plan) -> None:
        """Let readers in before a byte is fetched: one who is early reads through.

        All ranked priors count, those that are not warmed too: they are the same patient's.

        Raises:
            NodeUnavailableError: the reading list cannot be written.
        """
        assigned = order.reading
        if assigned is None:
            return
        self._readings.put(
            Reading(
                assignment_id=assigned.assignment_id,
                prefetch_id=order.prefetch_id,
                origin_id=plan.origin_id,
                reading_location=assigned.reading_location,
                study_instance_uid=plan.study_instance_uid,
                priors=tuple(prior.study_instance_uid for prior in plan.priors),
                assigned_to=assigned.assigned_to,
                patient=assigned.patient,
                ends_at=assigned.ends_at,
            )
        )

    def warmed(self, order: WarmOrder, plan: Plan, series: Iterable[SeriesTally]) -> None:
        """Record each series of which frames were proven."""
        for one in series:
            if one.verified:
                self._record(_warmed(order, plan, one, modality=self._modality_of(one)))

    def purge(self, order: PurgeOrder, purge: Callable[[], Purged]) -> None:
        """Purge, and record what that did.

        Raises:
            NodeUnavailableError: the purge failed.
        """
        series = self._series_of(order)
        done = purge()
        below = order.below_version
        self._record(
            AuditRecord(
                kind="purged",
                study="" if series is None else series.study_instance_uid,
                series="" if series is None else series.series_instance_uid,
                origin=order.origin_id,
                image_set=order.image_set_id,
                reason="deleted at the archive" if below is None else "replaced at the archive",
                detail={
                    "versions": done.versions,
                    "frames": done.frames,
                    "bytes_freed": done.bytes_freed,
                    **({} if below is None else {"below_version": below}),
                },
            )
        )

    def _series_of(self, order: PurgeOrder) -> SeriesPointer | None:
        with suppress(PrefetchError):  # the purge comes first, and tells what is wrong
            for row in self._store.rows():
                if (row.origin_id, row.series.image_set_id) == (
                    order.origin_id,
                    order.image_set_id,
                ):
                    return row.series
        return None

    def _modality_of(self, one: SeriesTally) -> str:
        """The code (PS3.3 C.7.3.1.1.1) by what is held; nothing if that is none, or is gone."""
        pointer = one.planned.series
        for row in self._store.of_study(pointer.study_instance_uid):
            if row.series.series_instance_uid == pointer.series_instance_uid:
                code = text_of(row.attributes, _MODALITY)
                return code if _CODE.fullmatch(code) else ""
        return ""

    def _record(self, record: AuditRecord) -> None:
        try:
            self._log.commit(record)
        except PrefetchError as error:
            _LOG.critical("audit: a record of kind %s: %s", record.kind, error)


def _warmed(order: WarmOrder, plan: Plan, one: SeriesTally, *, modality: str) -> AuditRecord:
    pointer, reading = one.planned.series, order.reading
    return AuditRecord(
        kind="warmed",
        study=pointer.study_instance_uid,
        series=pointer.series_instance_uid,
        origin=plan.origin_id,
        image_set=pointer.image_set_id or "",
        version=str(pointer.version_id),
        patient="" if reading is None else reading.patient,
        order=order.prefetch_id,
        assignment="" if reading is None else reading.assignment_id,
        event_id=order.event_id or "",
        detail={
            "rank": one.planned.rank,
            "frames": len(one.verified),
            "frames_planned": len(one.entries),
            "bytes": sum(one.stored[name] for name in one.verified & one.stored.keys()),
            "metadata_reads": one.metadata_reads,
            "fetched_frames": one.fetched_frames,
            "fetched_bytes": one.fetched_bytes,
            **({"modality": modality} if modality else {}),
            **({"rule": rule} if (rule := _rule_of(plan, pointer.study_instance_uid)) else {}),
        },
    )


def _rule_of(plan: Plan, study_instance_uid: str) -> str:
    """The rule of relevance that spoke most for a prior; nothing of the current study."""
    found = (one.rule for one in plan.priors if one.study_instance_uid == study_instance_uid)
    return next(found, "")
