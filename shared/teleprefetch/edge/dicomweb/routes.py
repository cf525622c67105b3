"""What a node answers: a request in, a response out."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol
from urllib.parse import unquote

from teleprefetch.dicom import is_uid
from teleprefetch.edge.dicomweb.capabilities import capabilities
from teleprefetch.edge.dicomweb.messages import Miss, Request, Response, json_response, refusal
from teleprefetch.edge.dicomweb.metadata_answers import MetadataAnswers
from teleprefetch.edge.dicomweb.misses import MissReader
from teleprefetch.edge.dicomweb.pixel_answers import PixelAnswers
from teleprefetch.edge.dicomweb.ranges import is_known, not_modified
from teleprefetch.edge.dicomweb.search_answers import Order, SearchAnswers
from teleprefetch.edge.dicomweb.sources import HeldSource, Source, ThroughSource
from teleprefetch.edge.dicomweb.urls import ROOT, root_of
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.edge.store.rows import SeriesRow
from teleprefetch.edge.watching.board import Board
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    DeadlineExceededError,
    InvalidPayloadError,
    NodeUnavailableError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
    StudyNotFoundError,
)

_LOG: Final = logging.getLogger(__name__)
_ALLOW: Final = ("Allow", "GET, HEAD, OPTIONS")
_STATUS: Final[dict[type[PrefetchError], int]] = {
    InvalidPayloadError: 400,
    AccessDeniedError: 403,
    StudyNotFoundError: 404,
    CorruptPayloadError: 404,
    NodeUnavailableError: 503,
}
# Errors on the way to the archive: none of them is the client's fault.
_ORIGIN_STATUS: Final[dict[type[PrefetchError], int]] = {
    AccessDeniedError: 502,
    CorruptPayloadError: 502,
    OriginUnavailableError: 502,
    DeadlineExceededError: 504,
    OriginThrottledError: 503,
    NodeUnavailableError: 503,
}
_STUDY: Final = rf"{ROOT}/studies/(?P<study>[^/]*)"
_SERIES: Final = rf"{_STUDY}/series/(?P<series>[^/]*)"
_INSTANCE: Final = rf"{_SERIES}/instances/(?P<sop>[^/]*)"
_FRAMES: Final = rf"{_INSTANCE}/frames/(?P<list>[^/]*)"
_NOT_UIDS: Final = frozenset({"list", "place"})
Parts = dict[str, str]
_Handler = Callable[[Request, Parts, Source], Response]


class Site(Protocol):
    """Something else on the node's origin: a viewer, a page."""

    def answer(self, request: Request) -> Response | None:
        """The response, or None if the address is not its own."""


def refused(error: PrefetchError) -> Response:
    """The response to an error of this node, or of the request."""
    return refusal(_STATUS.get(type(error), 503), str(error))


def refused_by_origin(error: PrefetchError, retry_after_s: int) -> Response:
    """The response to an error on the way to the archive; it is never to be kept."""
    status = _ORIGIN_STATUS.get(type(error))
    if status is None:
        return refused(error)
    return refusal(status, f"origin: {error}", ("Retry-After", str(retry_after_s)))


class Routes:
    """GET, HEAD and OPTIONS over the holdings of one node.

    Args:
        holdings: what may be served.
        is_ready: tells whether the node takes orders.
        order: the rank of a patient's studies by UID, the best first; None is newest first.
        misses: reads through to the archive; None answers 404 for what is not held.
        board: the node's counters.
        sites: what else is served on the same origin, asked in this order.
        trusts_proxy: X-Forwarded-Host and X-Forwarded-Proto are a proxy's own words.
    """

    def __init__(
        self,
        holdings: Holdings,
        *,
        is_ready: Callable[[], bool],
        order: Order | None = None,
        misses: MissReader | None = None,
        board: Board | None = None,
        sites: Sequence[Site] = (),
        trusts_proxy: bool = False,
    ) -> None:
        self.holdings = holdings
        self._is_ready = is_ready
        self._board = board
        self._sites = sites
        self._trusts_proxy = trusts_proxy
        self._held = HeldSource(holdings)
        self._misses = misses
        search = SearchAnswers(
            holdings,
            order=order,
            reads_through=misses is not None,
            trusts_proxy=trusts_proxy,
        )
        metadata = MetadataAnswers(trusts_proxy=trusts_proxy)
        pixels = PixelAnswers()
        table: tuple[tuple[str, str, _Handler], ...] = (
            ("frames", _FRAMES, pixels.frames),
            ("metadata", rf"{_SERIES}/metadata", metadata.series),
            ("search", rf"{ROOT}/studies", search.studies),
            ("search", rf"{_STUDY}/series", search.series),
            ("search", rf"{ROOT}/series", search.all_series),
            ("search", rf"{_SERIES}/instances", search.instances),
            ("search", rf"{_STUDY}/instances", search.instances),
            ("metadata", rf"{_STUDY}/metadata", metadata.study),
            ("metadata", rf"{_INSTANCE}/metadata", metadata.instance),
            ("instance", _INSTANCE, pixels.instance),
            ("bulkdata", rf"{_INSTANCE}/bulkdata/(?P<place>.+)", pixels.bulkdata),
            ("rendered", rf"{_INSTANCE}/rendered", pixels.rendered),
            ("rendered", rf"{_FRAMES}/rendered", pixels.rendered),
            ("thumbnail", rf"{_FRAMES}/thumbnail", pixels.thumbnail),
            ("thumbnail", rf"{_INSTANCE}/thumbnail", pixels.thumbnail),
            ("thumbnail", rf"{_SERIES}/thumbnail", pixels.thumbnail),
            ("thumbnail", rf"{_STUDY}/thumbnail", pixels.thumbnail),
            ("warm", r"/warm", self._warm),
            ("warm", r"/warm/studies/(?P<study>[^/]*)", self._warm_study),
            ("health", r"/healthz", lambda *_: json_response({"status": "ok"})),
            ("health", r"/readyz", self._ready),
            ("metrics", r"/metrics", self._metrics),
        )
        self._routes = [(kind, re.compile(path), handler) for kind, path, handler in table]

    def answer(self, request: Request) -> Response | Miss:
        """The response to a request, or what to do for one that must be fetched.

        The response to a HEAD is that to a GET: the body is for the sender to omit.
        """
        if request.method == "OPTIONS":
            return self._options(request)
        if request.method not in {"GET", "HEAD"}:
            return refusal(405, "method: only GET, HEAD and OPTIONS", _ALLOW)
        for kind, pattern, handler in self._routes:
            found = pattern.fullmatch(request.path)
            if found is not None:
                return self._handled(kind, handler, request, found)
        return self._elsewhere(request)

    def _handled(
        self, kind: str, handler: _Handler, request: Request, found: "re.Match[str]"
    ) -> Response | Miss:
        parts = {name: unquote(text) for name, text in found.groupdict().items()}
        try:
            for name in parts.keys() - _NOT_UIDS:
                if not is_uid(parts[name]):
                    raise InvalidPayloadError(f"path.{name}: not a UID")
            response = handler(request, parts, self._held)
        except StudyNotFoundError as error:
            if self._misses is None or kind == "warm":
                return replace(refused(error), kind=kind)
            return Miss(partial(self._fetched, kind, handler, request, parts, self._misses))
        except PrefetchError as error:
            return replace(refused(error), kind=kind)
        return _conditional(request, replace(response, kind=kind))

    def _fetched(
        self, kind: str, handler: _Handler, request: Request, parts: Parts, misses: MissReader
    ) -> Response:
        try:
            response = handler(request, parts, ThroughSource(self.holdings, misses))
        except PrefetchError as error:
            return replace(refused_by_origin(error, misses.retry_after_s()), kind=kind)
        return _conditional(request, replace(response, kind=kind))

    def _elsewhere(self, request: Request) -> Response:
        for site in self._sites:
            try:
                response = site.answer(request)
            except PrefetchError as error:
                return refused(error)
            if response is not None:
                return response if response.kind else replace(response, kind="site")
        return refusal(404, "path: nothing here")

    def _options(self, request: Request) -> Response:
        if request.path.rstrip("/") in {"", "*", ROOT}:
            try:
                base = root_of(request, trusts_proxy=self._trusts_proxy)
            except InvalidPayloadError as error:
                return refused(error)
            return replace(capabilities(request.accept, base), kind="capabilities")
        return Response(204, (_ALLOW,), kind="options")

    def _warm(self, _request: Request, _parts: Parts, _source: Source) -> Response:
        return json_response({"series": [self._proof(row) for row in self.holdings.rows()]})

    def _warm_study(self, _request: Request, parts: Parts, source: Source) -> Response:
        rows = source.rows(parts["study"])
        for row in rows:
            self.holdings.verify(row.origin_id, row.series)
        return json_response({"series": [self._proof(row) for row in rows]})

    def _ready(self, _request: Request, _parts: Parts, _source: Source) -> Response:
        if self._is_ready():
            return json_response({"status": "ready"})
        return refusal(503, "node: takes no orders")

    def _metrics(self, _request: Request, _parts: Parts, _source: Source) -> Response:
        rows = self.holdings.rows()
        lines = [] if self._board is None else self._board.prometheus()
        for name, value, told in (
            ("ready", int(self._is_ready()), "whether the node takes orders"),
            ("held_series", len(rows), "series held"),
            ("held_bytes", sum(row.segment_bytes for row in rows), "bytes of frames held"),
        ):
            lines += [f"# HELP teleprefetch_{name} {told}", f"# TYPE teleprefetch_{name} gauge"]
            lines.append(f"teleprefetch_{name} {value}")
        headers = (
            ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
            ("Cache-Control", "no-store"),
        )
        return Response(200, headers, ("\n".join((*lines, "")).encode(),))

    def _proof(self, row: SeriesRow) -> dict[str, str | int | None]:
        held, verified = self.holdings.counts(row)
        return {
            "origin_id": row.origin_id,
            "study_instance_uid": row.series.study_instance_uid,
            "series_instance_uid": row.series.series_instance_uid,
            "image_set_id": row.series.image_set_id,
            "version_id": row.series.version_id,
            "frames_held": held,
            "frames_verified": verified,
        }


def _conditional(request: Request, response: Response) -> Response:
    if response.status == 200 and is_known(request, response.etag):
        return not_modified(response)
    return response
