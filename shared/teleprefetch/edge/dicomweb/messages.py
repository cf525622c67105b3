"""A request and a response as values, whatever speaks the protocol."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from teleprefetch.edge.store.rows import SeriesRow


class Request(NamedTuple):
    """A request; the names of headers are in lower case.

    `path` is as sent, percent-encoded; `query` is decoded; `client` is the peer's address, and
    `scheme` how the client reached this server.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    client: str = ""
    scheme: str = "http"

    def asked(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        return next((value for key, value in self.query if key == name), "")

    @property
    def accept(self) -> str:
        """What the client accepts; the query goes before the header (PS3.18 8.3.3.1)."""
        return self.asked("accept") or self.headers.get("accept", "")

    @property
    def takes_gzip(self) -> bool:
        """Whether the body may be sent in gzip (RFC 9110 12.5.3)."""
        codings = self.headers.get("accept-encoding", "").lower().split(",")
        named = {name.strip(): weight.strip() for name, _, weight in map(_parted, codings)}
        weight = named.get("gzip", named.get("*", "q=0"))
        return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}


def _parted(coding: str) -> tuple[str, str, str]:
    return coding.partition(";")


class FilePart(Protocol):
    """A piece of a file, which is sent from the file; StoredFrame is one."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def offset(self) -> int:
        """Where the piece begins."""

    @property
    def length_bytes(self) -> int:
        """How long it is."""


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A piece of any file."""

    path: Path
    offset: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Basis:
    """What a response was made of: the series held of a study, or one series of it.

    As long as the store answers the very same rows, the response stays true.
    """

    study_instance_uid: str
    series_instance_uid: str | None
    rows: tuple[SeriesRow, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a response shows, for the audit; fields as in `AuditRecord`, empty where not known."""

    series: str = ""
    instance: str = ""
    frames: tuple[int, ...] = ()
    image_set: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A response; parts of its body may be pieces of files, which are sent from the file.

    A response with a `basis` may be given again, to the same request, while that stays true.
    `kind` is what it is of, for the access log.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[bytes | FilePart, ...] = ()
    basis: Basis | None = None
    kind: str = ""
    shown: Shown = Shown()

    @property
    def content_length(self) -> int:
        """How long the body is, in bytes."""
        return sum(
            len(part) if isinstance(part, bytes) else part.length_bytes for part in self.body
        )

    @property
    def etag(self) -> str:
        """Its entity tag, or nothing."""
        return self.header("ETag")

    def header(self, name: str) -> str:
        """The value of a header, or nothing."""
        return next((value for key, value in self.headers if key == name), "")

    def with_headers(self, *headers: tuple[str, str]) -> "Response":
        """The same with more headers."""
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True, slots=True)
class Miss:
    """What is not held here and may be at the archive; `fetch` waits for that."""

    fetch: Callable[[], Response]


def json_response(
    document: Any,
    *,
    status: int = 200,
    media_type: str = "application/json",
    headers: tuple[tuple[str, str], ...] = (),
) -> Response:
    """A response with a JSON document."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", media_type), *headers), (content,))


def refusal(status: int, reason: str, *headers: tuple[str, str]) -> Response:
    """A response that says why not; the reason names fields, never their content."""
    return json_response(
        {"error": reason}, status=status, headers=(("Cache-Control", "no-store"), *headers)
    )


NOT_HELD: Final = refusal(404, "study or series: not held here")
"""What is answered about a study that is not there; about one that is refused nothing else is."""
