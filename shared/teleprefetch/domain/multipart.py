"""multipart/related without I/O (RFC 2387, RFC 2046 5.1.1): what WADO-RS frames travel in.

Stricter than RFC 2046 in one point: a line that merely begins with the delimiter is content, since
pixels may hold any bytes. A part's own Content-Length, where given, decides where it ends.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from teleprefetch.errors import CorruptPayloadError

_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*=\s*("(?:\\.|[^"\\])*"|[^\s;,]*)')
# RFC 2046 allows 70 characters; some archives join two UUIDs, which makes 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,200}", re.ASCII)
_MAX_HEADER_BYTES: Final = 16 * 1024
_MAX_PADDING: Final = 64


@dataclass(frozen=True, slots=True)
class ContentType:
    """A Content-Type header: the media type in lower case, its parameters unquoted."""

    media_type: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> "ContentType":
        """Read a header's value; what does not look like a parameter is passed over."""
        media_type, semicolon, rest = header.partition(";")
        parameters = {
            name.lower(): _unquoted(value) for name, value in _PARAMETER.findall(semicolon + rest)
        }
        return cls(media_type.strip().lower(), parameters)

    @property
    def transfer_syntax_uid(self) -> str:
        """The transfer syntax it states, or nothing.

        Orthanc writes it inside the quotes of `type`: `type="image/jp2; transfer-syntax=…"`.
        """
        inner = ContentType.parse(self.parameters.get("type", ""))
        stated = self.parameters.get("transfer-syntax")
        return stated or inner.parameters.get("transfer-syntax", "")

    @property
    def root_media_type(self) -> str:
        """What `type` says that the parts are, in lower case, or nothing."""
        return ContentType.parse(self.parameters.get("type", "")).media_type


@dataclass(frozen=True, slots=True)
class Part:
    """One part; the names of headers are in lower case."""

    headers: Mapping[str, str]
    content: bytes

    @property
    def content_type(self) -> ContentType:
        """The part's own Content-Type; empty if it has none."""
        return ContentType.parse(self.headers.get("content-type", ""))


def boundary_of(content_type: ContentType) -> str:
    """The boundary of a multipart/related answer.

    Raises:
        CorruptPayloadError: it is of another media type, or its boundary is missing or malformed.
    """
    if content_type.media_type != "multipart/related":
        raise CorruptPayloadError("Content-Type: not multipart/related")
    boundary = content_type.parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise CorruptPayloadError("Content-Type boundary: missing or malformed")
    return boundary


class MultipartDecoder:
    """Cuts a body, fed in any chunks, into its parts."""

    def __init__(self, boundary: str, *, max_parts: int, max_part_bytes: int) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._ending = re.compile(rb"--|[ \t]{0,%d}\r\n" % _MAX_PADDING)
        self._max_parts = max_parts
        self._max_part_bytes = max_part_bytes
        self._buffer = bytearray(b"\r\n")  # the first delimiter may lack the line break before it
        self._step = self._preamble
        self._headers: dict[str, str] = {}
        self._searched = 0
        self._count = 0
        self._parts: list[Part] = []

    def feed(self, chunk: bytes) -> list[Part]:
        """The parts that `chunk` completes.

        Raises:
            CorruptPayloadError: there are too many parts, one is too big, headers are malformed,
                or a part does not end where its Content-Length says.
        """
        self._buffer += chunk
        while self._step():
            pass
        parts, self._parts = self._parts, []
        return parts

    def close(self) -> None:
        """Say that nothing more comes.

        Raises:
            CorruptPayloadError: the closing delimiter has not been seen.
        """
        if self._step != self._epilogue:
            raise CorruptPayloadError("multipart: cut short, no closing delimiter")

    def _preamble(self) -> bool:
        found = self._find_delimiter()
        if found is None:
            self._limit(_MAX_HEADER_BYTES, "multipart preamble")
            return False
        self._go_on_after(found[1])
        return True

    def _header(self) -> bool:
        # The line break that ends the delimiter is still there, so that no header at all is found.
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._limit(_MAX_HEADER_BYTES, "multipart header")
            return False
        if end > _MAX_HEADER_BYTES:
            raise CorruptPayloadError("multipart header: too long")
        self._count += 1
        if self._count > self._max_parts:
            raise CorruptPayloadError("multipart: more parts than were asked for")
        self._headers = _headers(bytes(self._buffer[2:end]) if end else b"")
        del self._buffer[: end + 4]
        self._step = self._content if "content-length" not in self._headers else self._sized
        return True

    def _content(self) -> bool:
        found = self._find_delimiter()
        if found is None:
            self._limit(self._max_part_bytes, "multipart part")
            return False
        self._emit(*found)
        return True

    def _sized(self) -> bool:
        length = self._stated_length()
        if len(self._buffer) < length + len(self._delimiter) + 2:
            return False
        ending = self._ending.match(self._buffer, length + len(self._delimiter))
        if not self._buffer.startswith(self._delimiter, length) or (
            ending is None and not self._is_padding(length + len(self._delimiter))
        ):
            raise CorruptPayloadError("multipart part: does not end where Content-Length says")
        if ending is None:
            return False
        self._emit(length, ending.end())
        return True

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False

    def _stated_length(self) -> int:
        text = self._headers["content-length"]
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise CorruptPayloadError("multipart Content-Length: not a number")
        if int(text) > self._max_part_bytes:
            raise CorruptPayloadError("multipart part: too long")
        return int(text)

    def _find_delimiter(self) -> tuple[int, int] | None:
        """Where the content before the next delimiter ends, and where the delimiter does."""
        start = self._buffer.find(self._delimiter, self._searched)
        while start >= 0:
            after = start + len(self._delimiter)
            ending = self._ending.match(self._buffer, after)
            if ending is not None:
                return start, ending.end()
            if self._is_padding(after):
                self._searched = start
                return None
            start = self._buffer.find(self._delimiter, start + 2)
        self._searched = max(0, len(self._buffer) - len(self._delimiter) + 1)
        return None

    def _is_padding(self, after: int) -> bool:
        """Tell whether what follows a delimiter so far may still become its ending."""
        rest = bytes(self._buffer[after : after + _MAX_PADDING + 2])
        return rest == b"-" or (len(rest) < _MAX_PADDING + 2 and rest.strip(b" \t") in {b"", b"\r"})

    def _emit(self, end: int, after: int) -> None:
        if end > self._max_part_bytes:
            raise CorruptPayloadError("multipart part: too long")
        with memoryview(self._buffer) as view:
            self._parts.append(Part(self._headers, bytes(view[:end])))
        self._go_on_after(after)

    def _go_on_after(self, after: int) -> None:
        closing = self._buffer.startswith(b"--", after - 2)
        self._step = self._epilogue if closing else self._header
        del self._buffer[: after if closing else after - 2]
        self._searched = 0

    def _limit(self, most: int, what: str) -> None:
        if len(self._buffer) > most + len(self._delimiter) + _MAX_PADDING + 4:
            raise CorruptPayloadError(f"{what}: too long")


def decode(
    content_type: ContentType, body: bytes, *, max_parts: int, max_part_bytes: int
) -> tuple[Part, ...]:
    """The parts of a whole body; raises as `boundary_of` and `MultipartDecoder` do."""
    decoder = MultipartDecoder(
        boundary_of(content_type), max_parts=max_parts, max_part_bytes=max_part_bytes
    )
    parts = decoder.feed(body)
    decoder.close()
    return tuple(parts)


def opening(boundary: str, headers: Mapping[str, str]) -> bytes:
    """What goes before a part's content; before any part but the first comes a line break."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"--{boundary}\r\n{lines}\r\n".encode("ascii")


def closing(boundary: str) -> bytes:
    """What goes after the last part's content."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def encode(parts: Iterable[Part], boundary: str) -> bytes:
    """A whole body; each part gets a Content-Length, so that any content is safe in it."""
    pieces = [
        opening(boundary, {**part.headers, "Content-Length": str(len(part.content))}) + part.content
        for part in parts
    ]
    return b"\r\n".join(pieces) + closing(boundary)


def _headers(block: bytes) -> dict[str, str]:
    headers = {}
    for line in block.decode("latin-1").split("\r\n") if block else []:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CorruptPayloadError("multipart header: not a header line")
        headers[name.strip().lower()] = value.strip()
    return headers


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
