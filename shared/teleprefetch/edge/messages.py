"""A request and a response as values, whatever speaks the protocol."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from teleprefetch.edge.holdings import StoredFrame


@dataclass(frozen=True, slots=True)
class Request:
    """A request; the names of headers are in lower case.

    `path` is as sent, percent-encoded; `query` is decoded; `client` is the peer's address.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    client: str = ""

    def asked(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class Response:
    """A response; parts of its body may be pieces of files, which are sent from the file."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[bytes | StoredFrame, ...] = ()

    @property
    def content_length(self) -> int:
        """How long the body is, in bytes."""
        return sum(
            len(part) if isinstance(part, bytes) else part.length_bytes for part in self.body
        )

    @property
    def etag(self) -> str:
        """Its entity tag, or nothing."""
        return dict(self.headers).get("ETag", "")


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
