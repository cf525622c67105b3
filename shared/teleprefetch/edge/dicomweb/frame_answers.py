"""Answers that carry frames as they are stored: single parts, multipart, ranges."""

import hashlib
from collections.abc import Sequence
from typing import Final

from teleprefetch.domain.multipart import closing, opening
from teleprefetch.edge.dicomweb import media
from teleprefetch.edge.dicomweb.messages import Basis, FilePart, Request, Response, Shown, refusal
from teleprefetch.edge.dicomweb.ranges import cut_to_range
from teleprefetch.edge.store.holdings import StoredFrame
from teleprefetch.errors import NodeUnavailableError, StudyNotFoundError

# The pixels of an instance never change under its UID, so a viewer may keep a frame for a day.
FRAME_CACHING: Final = ("Cache-Control", "private, immutable, max-age=86400")
VARIES: Final = ("Vary", "Accept, Authorization")
_ACCEPT_RANGES: Final = ("Accept-Ranges", "bytes")


def frames_answer(request: Request, frames: Sequence[StoredFrame], basis: Basis | None) -> Response:
    """The frames in the form that the client accepts, or why there is none."""
    chosen = media.representation(
        request.accept,
        [frame.transfer_syntax_uid for frame in frames],
        may_be_single=len(frames) == 1,
    )
    if chosen is None:
        return refusal(406, "accept: the frames are not held in such a form")
    if chosen.is_multipart:
        return _multipart(frames, chosen, basis)
    headers = (*_headers(frames, _described(frames[0], chosen), "single"), _ACCEPT_RANGES)
    whole = Response(200, headers, (part_of(frames[0]),), basis, shown=_shown(frames))
    return cut_to_range(request, whole)


def pixels_answer(request: Request, frames: Sequence[StoredFrame], basis: Basis | None) -> Response:
    """All frames of an instance as bulk data: a part each, or one run of uncompressed bytes."""
    chosen = media.representation(
        request.accept,
        [frame.transfer_syntax_uid for frame in frames],
        may_be_single=len(frames) == 1 or media.are_uncompressed(frames),
    )
    if chosen is None:
        return refusal(406, "accept: the pixels are not held in such a form")
    if chosen.is_multipart:
        return _multipart(frames, chosen, basis)
    headers = _headers(frames, _described(frames[0], chosen), "pixels")
    return Response(200, headers, tuple(map(part_of, frames)), basis, shown=_shown(frames))


def part_of(frame: StoredFrame) -> bytes | FilePart:
    """What is sent of a frame: a piece of a file, or its bytes if the store could not take it."""
    return frame if frame.content is None else frame.content


def content_of(frame: StoredFrame) -> bytes:
    """A frame's bytes in this process, for what must be made of them.

    Raises:
        StudyNotFoundError: it was purged or evicted since it was found.
        NodeUnavailableError: the disk cannot be read.
    """
    if frame.content is not None:
        return frame.content
    try:
        with frame.path.open("rb") as file:
            file.seek(frame.offset)
            content = file.read(frame.length_bytes)
    except FileNotFoundError:
        raise StudyNotFoundError("frame: not held here") from None
    except OSError as error:
        raise NodeUnavailableError("store: the disk failed") from error
    if len(content) != frame.length_bytes:
        raise NodeUnavailableError("store: a segment ends early")
    return content


def digest_of(frames: Sequence[StoredFrame], form: str) -> str:
    """What tells these frames in this form from all others."""
    named = "".join(frame.sha256 for frame in frames) + form
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _shown(frames: Sequence[StoredFrame]) -> Shown:
    versions = {frame.version_id for frame in frames}
    return Shown(version=str(versions.pop()) if len(versions) == 1 else "")


def _described(frame: StoredFrame, chosen: media.Representation) -> str:
    return f"{chosen.media_type}; transfer-syntax={frame.transfer_syntax_uid}"


def _headers(
    frames: Sequence[StoredFrame], content_type: str, form: str
) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", content_type),
        ("ETag", f'"{frames[0].version_id}-{digest_of(frames, form + content_type)}"'),
        FRAME_CACHING,
        VARIES,
    )


def _multipart(
    frames: Sequence[StoredFrame], chosen: media.Representation, basis: Basis | None
) -> Response:
    boundary = f"frame-{digest_of(frames, '')}"
    body: list[bytes | FilePart] = []
    for frame in frames:
        stated = {
            "Content-Type": _described(frame, chosen),
            "Content-Length": str(frame.length_bytes),
        }
        part = opening(boundary, stated)
        body += [b"\r\n" + part if body else part, part_of(frame)]
    syntaxes = {frame.transfer_syntax_uid for frame in frames}
    # Viewers take the transfer syntax from this header, not from the parts'.
    syntax = f" transfer-syntax={syntaxes.pop()};" if len(syntaxes) == 1 else ""
    content_type = f'multipart/related; type="{chosen.media_type}";{syntax} boundary={boundary}'
    headers = _headers(frames, content_type, "parts")
    return Response(200, headers, (*body, closing(boundary)), basis, shown=_shown(frames))
