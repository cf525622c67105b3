"""Archives as readers' requests reach them: each attempt is counted, and each 429 told to all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from teleprefetch.adapters.retrying import RetryPolicy
from teleprefetch.domain.scheduling import Operation
from teleprefetch.errors import OriginThrottledError
from teleprefetch.model import (
    Frame,
    FrameEntry,
    PatientKey,
    SeriesMetadata,
    SeriesPointer,
    StudyRecord,
)
from teleprefetch.ports import Origin

T = TypeVar("T")


class Reads(Protocol):
    """The part of the quota keeper that readers are counted by."""

    def read(self, origin_id: str, operation: Operation) -> None:
        """A reader's request goes out; it is counted, and never waits."""

    def told_to_slow_down(self, origin_id: str, operation: Operation) -> None:
        """An archive answered 429, to whomever."""


class MeteredOrigin:
    """An origin whose requests are counted and tried again; searches, which no warming makes, not.

    Args:
        origin_id: its id.
        origin: makes one attempt for each call.
        reads: counts.
        retries: how reads are tried again; searches are not.
    """

    def __init__(
        self, origin_id: str, origin: Origin, *, reads: Reads, retries: RetryPolicy
    ) -> None:
        self._origin_id = origin_id
        self._origin = origin
        self._reads = reads
        self._retries = retries

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """As the origin."""
        return self._origin.search_for_study(study_instance_uid)

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """As the origin."""
        return self._origin.search_for_patient(patient)

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """As the origin, with retries."""
        return self._retries.call(
            lambda: self._counted(
                Operation.METADATA, lambda: self._origin.retrieve_series_metadata(series)
            )
        )

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """As the origin, with retries."""
        return self._retries.call(
            lambda: self._counted(
                Operation.FRAME, lambda: self._origin.retrieve_frame(series, frame)
            )
        )

    def _counted(self, operation: Operation, ask: Callable[[], T]) -> T:
        self._reads.read(self._origin_id, operation)
        try:
            return ask()
        except OriginThrottledError:
            self._reads.told_to_slow_down(self._origin_id, operation)
            raise


class MeteredOrigins(Mapping[str, Origin]):
    """Origins by id, each metered; opened when they are first asked for.

    Args:
        origins: what is asked, each call once.
        reads: counts.
        retries: how reads are tried again.
    """

    def __init__(
        self, origins: Mapping[str, Origin], *, reads: Reads, retries: RetryPolicy
    ) -> None:
        self._origins = origins
        self._reads = reads
        self._retries = retries

    def __getitem__(self, origin_id: str) -> Origin:
        return MeteredOrigin(
            origin_id, self._origins[origin_id], reads=self._reads, retries=self._retries
        )

    def __contains__(self, origin_id: object) -> bool:
        return origin_id in self._origins

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins)

    def __len__(self) -> int:
        return len(self._origins)
