"""What a node answers: a request in, a response out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.dicomweb.authorization import bearer_of
from teleprefetch.edge.dicomweb.capabilities import capabilities
from teleprefetch.edge.dicomweb.messages import (
    NOT_HELD,
    Miss,
    Request,
    Response,
    json_response,
    refusal,
)
from teleprefetch.edge.dicomweb.metadata_answers import MetadataAnswers
from teleprefetch.edge.dicomweb.misses import MissReader
from teleprefetch.edge.dicomweb.pixel_answers import PixelAnswers
from teleprefetch.edge.dicomweb.places import ANYBODY, Parts, Place, Route, place_among, routes_of
from teleprefetch.edge.dicomweb.ranges import is_known, not_modified
from teleprefetch.edge.dicomweb.search_answers import Order, SearchAnswers
from teleprefetch.edge.dicomweb.showing import asked_at, shown_at
from teleprefetch.edge.dicomweb.sources import HeldSource, Sees, Source, ThroughSource
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

_OPEN: Final = Place(ANYBODY)
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


class Site(Protocol):
    """Something else on the node's origin: a viewer, a page."""

    def action_at(self, path: str) -> Action | None:
        """What one must be allowed to do for the answer at a path; None: anybody may have it."""

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
        is_ready: tells whether the node takes orders, and records.
        troubles: what is wrong with it, in words.
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
        troubles: Callable[[], Sequence[str]] = tuple,
        order: Order | None = None,
        misses: MissReader | None = None,
        board: Board | None = None,
        sites: Sequence[Site] = (),
        trusts_proxy: bool = False,
    ) -> None:
        self.holdings = holdings
        self._is_ready = is_ready
        self._troubles = troubles
        self._board = board
        self._sites = sites
        self._trusts_proxy = trusts_proxy
        self._misses = misses
        search = SearchAnswers(
            holdings,
            order=order,
            reads_through=misses is not None,
            trusts_proxy=trusts_proxy,
        )
        metadata = MetadataAnswers(trusts_proxy=trusts_proxy)
        pixels = PixelAnswers()
        self.table = routes_of(
            {
                "frames": pixels.frames,
                "series-metadata": metadata.series,
                "search-studies": search.studies,
                "search-study-series": search.series,
                "search-series": search.all_series,
                "search-series-instances": search.instances,
                "search-study-instances": search.instances,
                "study-metadata": metadata.study,
                "instance-metadata": metadata.instance,
                "instance": pixels.instance,
                "bulkdata": pixels.bulkdata,
                "rendered-instance": pixels.rendered,
                "rendered-frame": pixels.rendered,
                "frame-thumbnail": pixels.thumbnail,
                "instance-thumbnail": pixels.thumbnail,
                "series-thumbnail": pixels.thumbnail,
                "study-thumbnail": pixels.thumbnail,
                "warm": self._warm,
                "warm-study": self._warm_study,
                "metrics": self._metrics,
                "health": lambda *_: json_response({"status": "ok"}),
                "readiness": self._ready,
            }
        )

    def place_of(self, request: Request) -> Place:
        """Where a request goes, by its method and path alone: no store is looked at."""
        if request.method not in {"GET", "HEAD"}:
            return _OPEN
        place = place_among(self.table, request.path)
        if place is not None:
            return place
        for site in self._sites:
            action = site.action_at(request.path)
            if action is not None:
                return Place(action)
        return _OPEN

    def answer(self, request: Request, place: Place, sees: Sees) -> Response | Miss:
        """The response to a request, or what to do for one that must be fetched.

        The response to a HEAD is that to a GET: the body is for the sender to omit.

        Args:
            request: the request.
            place: where it goes, from `place_of`.
            sees: picks the studies that whoever asks may find.
        """
        if request.method == "OPTIONS":
            return self._options(request)
        if request.method not in {"GET", "HEAD"}:
            return refusal(405, "method: only GET, HEAD and OPTIONS", _ALLOW)
        if place.route is None:
            return self._elsewhere(request)
        return self._handled(place.route, request, place, sees)

    def _handled(self, route: Route, request: Request, place: Place, sees: Sees) -> Response | Miss:
        try:
            if place.fault:
                raise InvalidPayloadError(place.fault)
            response = route.handler(request, place.parts, HeldSource(self.holdings, sees))
        except StudyNotFoundError as error:
            if self._misses is None or route.kind == "warm":
                return replace(refused(error), kind=route.kind, shown=asked_at(place))
            return Miss(partial(self._fetched, route, request, place, sees, self._misses))
        except PrefetchError as error:
            return replace(refused(error), kind=route.kind, shown=asked_at(place))
        return self._finished(request, response, place)

    def _fetched(
        self, route: Route, request: Request, place: Place, sees: Sees, misses: MissReader
    ) -> Response:
        bearer = bearer_of(request.headers) or ""
        source = ThroughSource(self.holdings, sees, misses, bearer=bearer)
        try:
            response = route.handler(request, place.parts, source)
        except StudyNotFoundError:
            return replace(NOT_HELD, kind=route.kind, shown=asked_at(place))
        except PrefetchError as error:
            response = refused_by_origin(error, misses.retry_after_s())
            return replace(response, kind=route.kind, shown=asked_at(place))
        return self._finished(request, response, place)

    def _finished(self, request: Request, response: Response, place: Place) -> Response:
        shown = shown_at(place, response, self.holdings)
        kind = "" if place.route is None else place.route.kind
        return _conditional(request, replace(response, kind=kind, shown=shown))

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
        troubles = self._troubles()
        if not self._is_ready():
            return refusal(503, "; ".join(troubles) or "node: takes no orders")
        told: dict[str, object] = {"status": "ready"}
        return json_response(told | ({"troubles": [*troubles]} if troubles else {}))

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
