"""Forms what goes out of a response: its head's bytes, and its body's pieces with open files."""

from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from teleprefetch.edge.dicomweb.messages import Response, refusal
from teleprefetch.edge.http.descriptors import Descriptor, Descriptors, is_in_memory, read_ahead
from teleprefetch.edge.http.links import FilePiece, Piece
from teleprefetch.edge.http.remembered import Outgoing

_STARTS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Forming:
    """Makes answers of responses; for the event loop's thread."""

    def __init__(self) -> None:
        self._descriptors = Descriptors()
        self._date = _date()

    def outgoing(self, response: Response) -> Outgoing:
        """A response as it goes out; a file that is gone by now makes it a refusal."""
        try:
            pieces, descriptors = self._pieces(response)
        except FileNotFoundError:  # purged or evicted since the index was read
            return self.outgoing(refusal(404, "frame: not held here"))
        except OSError:
            return self.outgoing(refusal(503, "store: the disk cannot be read"))
        length = response.content_length
        lines = [f"{name}: {value}\r\n" for name, value in response.headers]
        if response.status not in {204, 304}:
            lines.append(f"Content-Length: {length}\r\n")
        return Outgoing(
            status=response.status,
            start=_STARTS[response.status],
            headers="".join(lines).encode("latin-1"),
            pieces=pieces,
            length_bytes=length,
            kind=response.kind,
            descriptors=descriptors,
        )

    def head_of(self, outgoing: Outgoing, *, keeps_alive: bool, further: bytes = b"") -> bytes:
        """The head of an answer that goes out now; `further` are lines for this client alone."""
        end = b"\r\n" if keeps_alive else b"Connection: close\r\n\r\n"
        return b"".join((outgoing.start, self._date, outgoing.headers, further, end))

    def sweep(self) -> None:
        """Tell the time anew, and close files that are gone."""
        self._date = _date()
        self._descriptors.sweep()

    def close(self) -> None:
        """Close the files."""
        self._descriptors.close()

    def _pieces(self, response: Response) -> tuple[tuple[Piece, ...], tuple[Descriptor, ...]]:
        opened: dict[Any, Descriptor] = {}
        pieces: list[Piece] = []
        for part in response.body:
            if isinstance(part, bytes):
                pieces.append(part)
                continue
            if part.path not in opened:
                opened[part.path] = self._descriptors.of(part.path)
            pieces.append(FilePiece(opened[part.path], part.offset, part.length_bytes))
        return tuple(pieces), tuple(opened.values())


def borrow(outgoing: Outgoing) -> None:
    """Keep the files of an answer open until `give_back`."""
    for descriptor in outgoing.descriptors:
        descriptor.borrow()


def give_back(outgoing: Outgoing) -> None:
    """Undo one `borrow`."""
    for descriptor in outgoing.descriptors:
        descriptor.give_back()


def cold(outgoing: Outgoing) -> list[FilePiece]:
    """The pieces of an answer that the disk would be waited for."""
    return [
        piece
        for piece in outgoing.pieces
        if not isinstance(piece, bytes)
        and not is_in_memory(piece.descriptor.number, piece.offset, piece.length_bytes)
    ]


def read_all(pieces: list[FilePiece]) -> None:
    """Bring pieces into memory; waits for the disk.

    Raises:
        OSError: the disk cannot be read.
    """
    for piece in pieces:
        read_ahead(piece.descriptor.number, piece.offset, piece.length_bytes)


def _date() -> bytes:
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()
