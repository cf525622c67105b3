"""What a node answers: a request in, a response out; it reads the store and nothing else."""

import hashlib
import re
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import unquote

from teleprefetch.dicom import is_uid
from teleprefetch.domain.multipart import closing, opening
from teleprefetch.edge import media, searches
from teleprefetch.edge.attributes import INSTANCE_TAGS, SERIES_TAGS, Attributes, read_instances
from teleprefetch.edge.holdings import Holdings, StoredFrame
from teleprefetch.edge.messages import Request, Response, json_response, refusal
from teleprefetch.edge.rows import SeriesRow, unpack
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    NodeUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)

ROOT: Final = "/dicom-web"
_UID: Final = r"(?P<{}>[^/]*)"
_SERIES: Final = rf"{ROOT}/studies/{_UID.format('study')}/series/{_UID.format('series')}"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_MOST_FRAMES: Final = 1000
# The pixels of an instance never change under its UID, so a viewer may keep a frame for a day.
_FRAME_CACHING: Final = ("Cache-Control", "private, immutable, max-age=86400")
_STATUS: Final[dict[type[PrefetchError], int]] = {
    InvalidPayloadError: 400,
    AccessDeniedError: 403,
    StudyNotFoundError: 404,
    CorruptPayloadError: 404,
    NodeUnavailableError: 503,
}
_Parts = dict[str, str]


def refused(error: PrefetchError) -> Response:
    """The response to an error."""
    return refusal(_STATUS.get(type(error), 503), str(error))


class Routes:
    """GET and HEAD over the holdings of one node.

    Args:
        holdings: what may be served.
        is_ready: tells whether the node takes orders.
    """

    def __init__(self, holdings: Holdings, *, is_ready: Callable[[], bool]) -> None:
        self._holdings = holdings
        self._is_ready = is_ready
        self._routes: tuple[tuple[re.Pattern[str], Callable[[Request, _Parts], Response]], ...] = (
            (
                re.compile(rf"{_SERIES}/instances/{_UID.format('sop')}/frames/(?P<list>[^/]*)"),
                self._frames,
            ),
            (re.compile(rf"{_SERIES}/metadata"), self._metadata),
            (re.compile(rf"{_SERIES}/instances"), self._instances),
            (re.compile(rf"{ROOT}/studies/{_UID.format('study')}/series"), self._series),
            (re.compile(rf"{ROOT}/studies"), self._studies),
            (re.compile(r"/warm"), self._warm),
            (re.compile(rf"/warm/studies/{_UID.format('study')}"), self._warm_study),
            (re.compile(r"/healthz"), lambda _request, _parts: json_response({"status": "ok"})),
            (re.compile(r"/readyz"), self._ready),
        )

    def answer(self, request: Request) -> Response:
        """The response to a request; of a HEAD, as of a GET: the body is for the sender to omit."""
        if request.method not in {"GET", "HEAD"}:
            return refusal(405, "method: only GET and HEAD", ("Allow", "GET, HEAD"))
        try:
            response = self._dispatch(request)
        except PrefetchError as error:
            return refused(error)
        if response.etag and response.etag in request.headers.get("if-none-match", ""):
            return Response(304, response.headers)
        return response

    def _dispatch(self, request: Request) -> Response:
        for pattern, handler in self._routes:
            found = pattern.fullmatch(request.path)
            if found is not None:
                parts = {name: unquote(text) for name, text in found.groupdict().items()}
                for name in parts.keys() - {"list"}:
                    if not is_uid(parts[name]):
                        raise InvalidPayloadError(f"path.{name}: not a UID")
                return handler(request, parts)
        return refusal(404, "path: nothing here")

    def _studies(self, request: Request, _parts: _Parts) -> Response:
        rows = reversed(self._holdings.rows())
        return _found(request, searches.studies(rows, _root_of(request)), searches.STUDY_KEYS)

    def _series(self, request: Request, parts: _Parts) -> Response:
        rows = self._held(parts["study"])
        return _found(request, searches.series(rows, _root_of(request)), SERIES_TAGS)

    def _instances(self, request: Request, parts: _Parts) -> Response:
        rows = self._held(parts["study"], parts["series"])
        documents = [one for row in rows for one in read_instances(unpack(self._packed(row)))]
        path = f"{ROOT}/studies/{parts['study']}/series/{parts['series']}"
        url = _root_of(request).removesuffix(ROOT) + path
        return _found(request, searches.instances(documents, url), INSTANCE_TAGS)

    def _metadata(self, request: Request, parts: _Parts) -> Response:
        if not media.accepts_json(request.asked("accept") or request.headers.get("accept", "")):
            return refusal(406, "accept: metadata are DICOM JSON")
        rows = self._held(parts["study"], parts["series"])
        headers = (
            ("Content-Type", media.DICOM_JSON),
            (
                "ETag",
                f'"{"-".join(f"{row.segment[:16]}.{row.series.version_id}" for row in rows)}"',
            ),
            ("Cache-Control", "private, no-cache"),
            ("Vary", "Accept, Accept-Encoding, Authorization"),
        )
        packed = [self._packed(row) for row in rows]
        if len(packed) == 1 and "gzip" in request.headers.get("accept-encoding", "").lower():
            return Response(200, (*headers, ("Content-Encoding", "gzip")), (packed[0],))
        return Response(200, headers, (_joined([unpack(one) for one in packed]),))

    def _frames(self, request: Request, parts: _Parts) -> Response:
        numbers = _frame_numbers(parts["list"])
        rows = self._held(parts["study"], parts["series"])
        frames = [self._frame(rows, parts["sop"], number) for number in numbers]
        chosen = media.representation(
            request.asked("accept") or request.headers.get("accept", ""),
            [frame.transfer_syntax_uid for frame in frames],
            may_be_single=len(frames) == 1,
        )
        if chosen is None:
            return refusal(406, "accept: the frames are not held in such a form")
        return _multipart(frames, chosen) if chosen.is_multipart else _single(frames[0], chosen)

    def _warm(self, _request: Request, _parts: _Parts) -> Response:
        return json_response({"series": [self._proof(row) for row in self._holdings.rows()]})

    def _warm_study(self, _request: Request, parts: _Parts) -> Response:
        rows = self._held(parts["study"])
        for row in rows:
            self._holdings.verify(row.origin_id, row.series)
        return json_response({"series": [self._proof(row) for row in rows]})

    def _ready(self, _request: Request, _parts: _Parts) -> Response:
        if self._is_ready():
            return json_response({"status": "ready"})
        return refusal(503, "node: takes no orders")

    def _held(self, study: str, series: str | None = None) -> list[SeriesRow]:
        held = self._holdings.of_study(study)
        rows = [row for row in held if series in {None, row.series.series_instance_uid}]
        if not rows:
            raise StudyNotFoundError("study or series: not held here")
        return rows

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

    def _proof(self, row: SeriesRow) -> dict[str, str | int | None]:
        held, verified = self._holdings.counts(row)
        return {
            "origin_id": row.origin_id,
            "study_instance_uid": row.series.study_instance_uid,
            "series_instance_uid": row.series.series_instance_uid,
            "image_set_id": row.series.image_set_id,
            "version_id": row.series.version_id,
            "frames_held": held,
            "frames_verified": verified,
        }


def _root_of(request: Request) -> str:
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        raise InvalidPayloadError("host: malformed")
    return f"http://{host}{ROOT}"


def _found(request: Request, results: list[Attributes], tags: Collection[str]) -> Response:
    if not media.accepts_json(request.asked("accept") or request.headers.get("accept", "")):
        return refusal(406, "accept: search results are DICOM JSON")
    page = searches.search(results, request.query, tags=tags)
    caching = ("Cache-Control", "private, no-store")
    if not page:
        return Response(204, (caching,))  # PS3.18 Table 10.6.3-1: nothing matches
    return json_response(page, media_type=media.DICOM_JSON, headers=(caching,))


def _frame_numbers(text: str) -> list[int]:
    numbers = text.split(",")
    if len(numbers) > _MOST_FRAMES:
        raise InvalidPayloadError("path.frames: too many")
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", number) for number in numbers):
        raise InvalidPayloadError("path.frames: not a list of frame numbers (PS3.18 10.4.1)")
    if len({*numbers}) < len(numbers):
        raise InvalidPayloadError("path.frames: a number is there twice")
    return [int(number) for number in numbers]


def _joined(documents: list[bytes]) -> bytes:
    """One DICOM JSON array of several, without reading them: the brackets are cut off."""
    if len(documents) == 1:
        return documents[0]
    inner = (document.strip()[1:-1].strip() for document in documents)
    return b"[" + b",".join(one for one in inner if one) + b"]"


def _described(frame: StoredFrame, chosen: media.Representation) -> str:
    return f"{chosen.media_type}; transfer-syntax={frame.transfer_syntax_uid}"


def _headers(frames: list[StoredFrame], content_type: str) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", content_type),
        ("ETag", f'"{frames[0].version_id}-{_digest(frames)}"'),
        _FRAME_CACHING,
        ("Vary", "Accept, Authorization"),
    )


def _digest(frames: list[StoredFrame]) -> str:
    return hashlib.sha256("".join(frame.sha256 for frame in frames).encode()).hexdigest()[:32]


def _single(frame: StoredFrame, chosen: media.Representation) -> Response:
    return Response(200, _headers([frame], _described(frame, chosen)), (frame,))


def _multipart(frames: list[StoredFrame], chosen: media.Representation) -> Response:
    boundary = f"frame-{_digest(frames)}"
    body: list[bytes | StoredFrame] = []
    for frame in frames:
        part = opening(
            boundary,
            {
                "Content-Type": _described(frame, chosen),
                "Content-Length": str(frame.length_bytes),
            },
        )
        body += [b"\r\n" + part if body else part, frame]
    syntaxes = {frame.transfer_syntax_uid for frame in frames}
    # Viewers take the transfer syntax from this header, not from the parts'.
    stated = f" transfer-syntax={syntaxes.pop()};" if len(syntaxes) == 1 else ""
    content_type = f'multipart/related; type="{chosen.media_type}";{stated} boundary={boundary}'
    return Response(200, _headers(frames, content_type), (*body, closing(boundary)))
