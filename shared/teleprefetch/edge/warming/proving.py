"""Reads back what an order has written: only that counts as warm."""

from teleprefetch.edge.store.rows import FrameName, frame_name
from teleprefetch.edge.store.store import Store
from teleprefetch.edge.warming.tally import OrderTally, SeriesTally
from teleprefetch.errors import StudyNotFoundError


class Proving:
    """Proves the series of one order.

    Args:
        store: what is read back.
        origin_id: the origin of the order's series.
        tally: what is counted.
    """

    def __init__(self, store: Store, origin_id: str, tally: OrderTally) -> None:
        self._store = store
        self._origin_id = origin_id
        self._tally = tally

    def held(self, series: SeriesTally) -> None:
        """Count what the store holds of a series already."""
        self._prove(series, {frame_name(entry) for entry in series.entries})

    def new(self) -> None:
        """Prove what came since the last time."""
        for series in self._tally.series:
            self._prove(series, series.unproven)

    def all(self) -> None:
        """Prove everything once more, and take back what cannot be read after all."""
        for series in self._tally.series:
            expected = set(series.stored)
            series.lose(expected - self._prove(series, expected))

    def note_unchecked_pixels(self) -> None:
        """Say how many frames' pixels were to be compared with the archive's and could not be."""
        unchecked = sum(
            not held[name].pixels_checked
            for series in self._tally.series
            for held in [self._store.frames(self._origin_id, series.planned.series)]
            for name in series.with_checksum & held.keys()
        )
        if unchecked:
            self._tally.note(f"the pixels of {unchecked} frames are not checked: not decoded here")

    def _prove(self, series: SeriesTally, names: set[FrameName]) -> set[FrameName]:
        if not names:
            return set()
        pointer = series.planned.series
        try:
            self._store.commit(self._origin_id, pointer)
        except StudyNotFoundError:
            names = set()  # purged while it was written: nothing of it is held
        verified = self._store.verify(self._origin_id, pointer, frames=names)
        held = self._store.frames(self._origin_id, pointer)
        series.prove({name: held[name].length_bytes for name in verified if name in held})
        return verified
