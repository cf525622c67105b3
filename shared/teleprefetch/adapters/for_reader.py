"""An archive that is asked in a reader's own name, with the bearer token that the reader sent.

The archive then decides too. What it will not give this reader is not found, as what it does not
have: nobody is to learn which of the two it is.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from teleprefetch.errors import AccessDeniedError, StudyNotFoundError
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


class Frames(Protocol):
    """The part of an origin that frames come from."""

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """The frame's bytes as stored."""


class ReadersOrigin:
    """An origin whose metadata and frames come by a reader's bearer; searches are made as ever.

    Args:
        origin: asks for metadata with the reader's bearer.
        frames: asks for frames with it.
    """

    def __init__(self, origin: Origin, *, frames: Frames) -> None:
        self._origin = origin
        self._frames = frames

    def search_for_study(self, study_instance_uid: str) -> StudyRecord:
        """As the origin."""
        return _given(lambda: self._origin.search_for_study(study_instance_uid))

    def search_for_patient(self, patient: PatientKey) -> tuple[StudyRecord, ...]:
        """As the origin."""
        return _given(lambda: self._origin.search_for_patient(patient))

    def retrieve_series_metadata(self, series: SeriesPointer) -> SeriesMetadata:
        """As the origin.

        Raises:
            StudyNotFoundError: the archive does not hold it, or does not give it to this reader.
        """
        return _given(lambda: self._origin.retrieve_series_metadata(series))

    def retrieve_frame(self, series: SeriesPointer, frame: FrameEntry) -> Frame:
        """As the origin.

        Raises:
            StudyNotFoundError: the archive does not hold it, or does not give it to this reader.
        """
        return _given(lambda: self._frames.retrieve_frame(series, frame))


def _given(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except AccessDeniedError as error:
        raise StudyNotFoundError("study: the archive does not give it to this reader") from error
