"""Which archive has a study, and what its series are there: by what is held, or by a search."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from teleprefetch.edge.archives.breaker import Breaker
from teleprefetch.edge.archives.retrieving import Source
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.errors import (
    AccessDeniedError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
)
from teleprefetch.ports import Origin

# A viewer asks for many things of one study in a few seconds; SearchImageSets allows 25 a second
# (HealthImaging developer guide, "Endpoints and quotas").
_AS_GOOD_AS_NEW_S: Final = 30.0
_A_MOMENT_S: Final = 1.0
_MOST_STUDIES: Final = 256
_CANNOT_TELL: Final = (OriginUnavailableError, OriginThrottledError, AccessDeniedError)


class GuardedOrigin:
    """An origin behind a breaker; opened when it is first asked.

    Args:
        opened: the origin.
        breaker: what every request passes.
    """

    def __init__(self, opened: Callable[[], Origin], breaker: Breaker) -> None:
        self._opened = opened
        self._breaker = breaker

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """As the origin."""
        return self._breaker.call(lambda: self._opened().search_for_study(study_instance_uid))

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """As the origin."""
        return self._breaker.call(lambda: self._opened().search_for_patient(patient))

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """As the origin."""
        return self._breaker.call(lambda: self._opened().retrieve_series_metadata(series))

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """As the origin."""
        return self._breaker.call(lambda: self._opened().retrieve_frame(series, frame))


@dataclass(frozen=True, slots=True)
class Located:
    """A series, and the archive that has it."""

    source: Source
    series: SeriesPointer


class Ask(Protocol):
    """Has something asked at a reader's urgency, once however many ask."""

    def __call__(self, key: Hashable, work: "Callable[[], list[Located]]") -> list[Located]:
        """What `work` answers."""


class Locations:
    """Where studies are; what a search told is remembered for half a minute.

    That a study was not found is never remembered.

    Args:
        holdings: what is held.
        sources: the archives by id.
        ask: has them searched.
        monotonic_s: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        holdings: Holdings,
        sources: Mapping[str, Source],
        *,
        ask: Ask,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holdings = holdings
        self._sources = sources
        self._ask = ask
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, list[Located]]] = OrderedDict()

    def of_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Located]:
        """A series as it is held, or else as the archive has it; several if image sets share it.

        Raises:
            StudyNotFoundError: no archive has it.
            OriginUnavailableError, OriginThrottledError, AccessDeniedError: an archive cannot be
                asked, and no other has it.
        """
        held = [
            Located(self._sources[row.origin_id], row.series)
            for row in self._holdings.of_study(study_instance_uid)
            if row.series.series_instance_uid == series_instance_uid
            and row.origin_id in self._sources
        ]
        found = held or [
            one
            for one in self.of_study(study_instance_uid)
            if one.series.series_instance_uid == series_instance_uid
        ]
        if not found:
            raise StudyNotFoundError("series: not in the archive")
        return found

    def of_study(self, study_instance_uid: str) -> list[Located]:
        """The series of a study as the archive has them; raises as `of_series` does."""
        known = self._remembered(study_instance_uid)
        if known is not None:
            return known
        return self._ask(("study", study_instance_uid), partial(self._find, study_instance_uid))

    def forget(self, study_instance_uid: str) -> bool:
        """Search anew next time, for what was told is not true any more.

        True if that is worth another try now: what was told is older than a moment.
        """
        with self._lock:
            told_at_s, _ = self._known.pop(study_instance_uid, (math.inf, []))
        return self._monotonic_s() - told_at_s > _A_MOMENT_S

    def _remembered(self, study_instance_uid: str) -> list[Located] | None:
        with self._lock:
            told_at_s, found = self._known.get(study_instance_uid, (-math.inf, []))
        return found if self._monotonic_s() < told_at_s + _AS_GOOD_AS_NEW_S else None

    def _find(self, study_instance_uid: str) -> list[Located]:
        known = self._remembered(study_instance_uid)
        if known is not None:
            return known  # found while this was about to be asked
        told_at_s = self._monotonic_s()
        found = self._found(study_instance_uid)
        with self._lock:
            self._known[study_instance_uid] = (told_at_s, found)
            while len(self._known) > _MOST_STUDIES:
                self._known.popitem(last=False)
        return found

    def _found(self, study_instance_uid: str) -> list[Located]:
        unclear: PrefetchError | None = None
        for source in self._likeliest_first(study_instance_uid):
            try:
                record = source.origin.search_for_study(study_instance_uid)
            except StudyNotFoundError:
                continue
            except _CANNOT_TELL as error:
                unclear = error
            else:
                return [Located(source, series.pointer) for series in record.series]
        raise unclear or StudyNotFoundError("study: in no archive")

    def _likeliest_first(self, study_instance_uid: str) -> Iterator[Source]:
        holding = [row.origin_id for row in self._holdings.of_study(study_instance_uid)]
        for origin_id in dict.fromkeys([*holding, *self._sources]):
            if origin_id in self._sources:
                yield self._sources[origin_id]
