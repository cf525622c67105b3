"""Answers that can be given again from memory, as long as they stay true.

Two things are looked at before each is given. The rows that it was made of must still be the very
ones that the store answers, whichever process changed them. And each file must be linked, and
unchanged since its bytes were proven. A purge and a rotten file are therefore seen at once.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.access.stencil import Pieces
from teleprefetch.edge.dicomweb.messages import Basis, Request
from teleprefetch.edge.http.descriptors import Descriptor
from teleprefetch.edge.http.links import FilePiece, Piece
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.edge.store.rows import SeriesRow

_MOST_ANSWERS: Final = 16_384
_MOST_BYTES: Final = 64 << 20
_OVERHEAD_BYTES: Final = 1024
# What an answer may depend on, beside its key; whatever has one of these is not remembered.
_CONDITIONS: Final = ("range", "if-none-match", "if-range")
# The target, and what of the headers an answer may depend on.
Rest = tuple[str | None, str | None, str | None]
Key = tuple[bytes, Rest]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer as it goes out: its status line, its headers without Date, and its body.

    `headers` ends without the empty line: a connection that ends has one more.
    """

    status: int
    start: bytes
    headers: bytes
    pieces: tuple[Piece, ...]
    length_bytes: int
    kind: str
    descriptors: tuple[Descriptor, ...] = ()


@dataclass(slots=True)
class Entry:
    """An answer, what one must be allowed to do for it, and its record's pieces.

    `revision` is that of the holdings when its rows were last found the same.
    """

    outgoing: Outgoing
    action: Action
    pieces: Pieces
    basis: Basis
    frames: int
    size_bytes: int
    revision: int = -1


def rest_of(request: Request) -> Rest | None:
    """The part of a key that is of the headers; None if an answer is not to be remembered."""
    headers = request.headers
    if request.method != "GET" or any(name in headers for name in _CONDITIONS):
        return None
    return headers.get("accept"), headers.get("accept-encoding"), headers.get("host")


class Remembered:
    """The last answers of one process; for one thread."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._size_bytes = 0
        self._served: Counter[int] = Counter()
        self._served_rows: dict[int, SeriesRow] = {}

    def find(self, key: Key) -> Entry | None:
        """An answer, if there is one; whether it is still true, `is_true` tells."""
        return self._entries.get(key)

    def is_true(self, key: Key, entry: Entry) -> bool:
        """Whether a remembered answer may be given again; one that may not is forgotten.

        Raises:
            NodeUnavailableError: the index cannot be read.
        """
        if not self._is_true(entry):
            self._forget(key)
            return False
        self._entries.move_to_end(key)
        row = entry.basis.rows[0]
        self._served[id(row)] += entry.frames
        self._served_rows[id(row)] = row
        return True

    def keep(
        self,
        key: Key,
        outgoing: Outgoing,
        basis: Basis,
        *,
        action: Action,
        pieces: Pieces,
        began_ns: int,
    ) -> None:
        """Remember an answer.

        Args:
            key: by what.
            outgoing: the answer.
            basis: what it was made of.
            action: what one must be allowed to do for it, with the study that it is made of.
            pieces: of the record of each time that it is given again.
            began_ns: the time before it was made, by the monotonic clock. Bytes that were proven
                since then are proven for a file in the state that it was opened in before; a
                file that was opened later is remembered the next time.
        """
        if any(one.opened_ns >= began_ns for one in outgoing.descriptors) or not basis.rows:
            return
        body = sum(len(piece) for piece in outgoing.pieces if isinstance(piece, bytes))
        size = body + len(outgoing.headers) + _OVERHEAD_BYTES
        if size > _MOST_BYTES // 4:
            return
        self._forget(key)
        frames = sum(isinstance(piece, FilePiece) for piece in outgoing.pieces)
        self._entries[key] = Entry(outgoing, action, pieces, basis, frames, size)
        self._size_bytes += size
        while len(self._entries) > _MOST_ANSWERS or self._size_bytes > _MOST_BYTES:
            self._forget(next(iter(self._entries)))

    def tell_served(self) -> None:
        """Tell the holdings what was served from here since the last time."""
        served, self._served = self._served, Counter()
        rows, self._served_rows = self._served_rows, {}
        for number, frames in served.items():
            self._holdings.served(rows[number], frames)

    def _is_true(self, entry: Entry) -> bool:
        for descriptor in entry.outgoing.descriptors:
            if not descriptor.is_as_opened:
                return False
        revision = self._holdings.revision()
        if entry.revision != revision:
            if not self._is_still_held(entry.basis):
                return False
            entry.revision = revision
        return True

    def _is_still_held(self, basis: Basis) -> bool:
        series, rows = basis.series_instance_uid, basis.rows
        count = 0
        for row in self._holdings.of_study(basis.study_instance_uid):
            if series is None or row.series.series_instance_uid == series:
                if count == len(rows) or row is not rows[count]:
                    return False
                count += 1
        return count == len(rows)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes
