"""Where an answer's content comes from: from what is held alone, or from the archive too."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from teleprefetch.edge.dicomweb.messages import Basis
from teleprefetch.edge.dicomweb.misses import MissReader
from teleprefetch.edge.store.holdings import Holdings, StoredFrame
from teleprefetch.edge.store.rows import SeriesRow
from teleprefetch.errors import StudyNotFoundError

Sees = Callable[[Iterable[str]], Collection[str]]
"""Picks from studies those that whoever asks may find."""


class Source(Protocol):
    """Frames and metadata by UIDs; every method raises StudyNotFoundError for what is not there."""

    @property
    def reads_through(self) -> bool:
        """Whether the archive is asked for what is not held."""

    def everything(self) -> list[SeriesRow]:
        """Every series held of the studies that whoever asks may find, oldest first."""

    def may_find(self, study: str) -> bool:
        """Whether whoever asks may find a study, held or not."""

    def rows(self, study: str, series: str | None = None) -> list[SeriesRow]:
        """The series held of a study, or one of them, newest first."""

    def metadata(
        self, study: str, series: str | None = None
    ) -> tuple[list[tuple[str, bytes]], Basis | None]:
        """The DICOM JSON of series, in gzip, each with its UID, and what they were found by.

        A series may be there several times, when several image sets make it up.
        """

    def frames(
        self, study: str, series: str, sop: str, numbers: Sequence[int]
    ) -> tuple[list[StoredFrame], Basis | None]:
        """Frames of one instance in that order, proven, and what they were found by."""


class HeldSource:
    """What the node holds.

    Args:
        holdings: all of it.
        sees: picks the studies that whoever asks may find; all others are as if not held.
    """

    reads_through = False

    def __init__(self, holdings: Holdings, sees: Sees) -> None:
        self._holdings = holdings
        self._sees = sees

    def everything(self) -> list[SeriesRow]:
        """Every series held of the studies that whoever asks may find, oldest first."""
        rows = self._holdings.rows()
        seen = self._sees({row.series.study_instance_uid for row in rows})
        return [row for row in rows if row.series.study_instance_uid in seen]

    def may_find(self, study: str) -> bool:
        """Whether whoever asks may find a study, held or not."""
        return study in self._sees((study,))

    def rows(self, study: str, series: str | None = None) -> list[SeriesRow]:
        """The series held of a study, or one of them, newest first."""
        held = self._holdings.of_study(study)
        rows = [row for row in held if series in {None, row.series.series_instance_uid}]
        if not rows:
            raise StudyNotFoundError("study or series: not held here")
        return rows

    def metadata(
        self, study: str, series: str | None = None
    ) -> tuple[list[tuple[str, bytes]], Basis | None]:
        """The DICOM JSON of series, in gzip."""
        rows = self.rows(study, series)
        found = [(row.series.series_instance_uid, self._packed(row)) for row in rows]
        return found, Basis(study, series, tuple(rows))

    def frames(
        self, study: str, series: str, sop: str, numbers: Sequence[int]
    ) -> tuple[list[StoredFrame], Basis | None]:
        """Frames of one instance; each from the newest image set that has it."""
        rows = self.rows(study, series)
        frames = [self._frame(rows, sop, number) for number in numbers]
        return frames, Basis(study, series, tuple(rows))

    def _packed(self, row: SeriesRow) -> bytes:
        packed = self._holdings.packed_dicom_json(row)
        if packed is None:
            raise StudyNotFoundError("series: not held here")
        return packed

    def _frame(self, rows: list[SeriesRow], sop: str, number: int) -> StoredFrame:
        for row in rows:
            frame = self._holdings.frame(row, (sop, number))
            if frame is not None:
                return frame
        raise StudyNotFoundError("frame: not held here")


class ThroughSource(HeldSource):
    """What the node holds, and what the archive has beyond it; its methods wait.

    Args:
        holdings: what the node holds.
        sees: picks the studies that whoever asks may find.
        misses: reads through to the archive.
        bearer: the token of whoever asks.
    """

    reads_through = True

    def __init__(self, holdings: Holdings, sees: Sees, misses: MissReader, *, bearer: str) -> None:
        super().__init__(holdings, sees)
        self._misses = misses
        self._bearer = bearer

    def rows(self, study: str, series: str | None = None) -> list[SeriesRow]:
        """The series held of a study, or one of them, once they are fetched."""
        try:
            return super().rows(study, series)
        except StudyNotFoundError:
            if series is None:
                self._misses.study(study, bearer=self._bearer)
            else:
                self._misses.metadata(study, series, bearer=self._bearer)
            return super().rows(study, series)

    def metadata(
        self, study: str, series: str | None = None
    ) -> tuple[list[tuple[str, bytes]], Basis | None]:
        """The DICOM JSON of series, in gzip; of one series also if the store cannot take it."""
        if series is None:
            return super().metadata(study)
        try:
            return HeldSource(self._holdings, self._sees).metadata(study, series)
        except StudyNotFoundError:
            packed = self._misses.metadata(study, series, bearer=self._bearer)
            return [(series, packed)], None

    def frames(
        self, study: str, series: str, sop: str, numbers: Sequence[int]
    ) -> tuple[list[StoredFrame], Basis | None]:
        """Frames of one instance; they are remembered the next time."""
        return self._misses.frames(study, series, sop, numbers, bearer=self._bearer), None
