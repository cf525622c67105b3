"""Answers searches (PS3.18 8.3.4, 10.6) over what the node holds."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from teleprefetch.dicom import is_uid
from teleprefetch.edge.dicomweb import media, searches
from teleprefetch.edge.dicomweb.messages import Request, Response, json_response, refusal
from teleprefetch.edge.dicomweb.sources import Source
from teleprefetch.edge.dicomweb.urls import root_of
from teleprefetch.edge.store.attributes import (
    INSTANCE_TAGS,
    SERIES_TAGS,
    Attributes,
    read_instances,
    text_of,
)
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.edge.store.rows import unpack
from teleprefetch.errors import StudyNotFoundError

_CACHING: Final = ("Cache-Control", "private, no-store")
_STUDY_NAMES: Final = ("0020000D", "StudyInstanceUID")
_PATIENT_NAMES: Final = ("00100020", "PatientID")
Order = Callable[[Collection[str]], Mapping[str, int]]
Parts = dict[str, str]


class SearchAnswers:
    """Searches for studies, series and instances.

    Args:
        holdings: what is searched.
        order: the ranks of studies, the lowest first; None is newest first.
        reads_through: whether a study that is not held is looked for at the archive.
        trusts_proxy: see `root_of`.
    """

    def __init__(
        self, holdings: Holdings, *, order: Order | None, reads_through: bool, trusts_proxy: bool
    ) -> None:
        self._holdings = holdings
        self._order = order
        self._reads_through = reads_through
        self._root_of = partial(root_of, trusts_proxy=trusts_proxy)

    def studies(self, request: Request, _parts: Parts, source: Source) -> Response:
        """Search for studies; a patient's come in the order of the plan, the best first."""
        self._look_for(request, source)
        rows = reversed(source.everything())
        found = searches.newest_first(searches.studies(rows, self._root_of(request)))
        if self._order is not None and _asked(request, _PATIENT_NAMES):
            found = _ranked(found, self._order)
        return _answer(request, found, searches.STUDY_KEYS)

    def series(self, request: Request, parts: Parts, source: Source) -> Response:
        """Search for the series of a study."""
        rows = source.rows(parts["study"])
        return _answer(request, searches.series(rows, self._root_of(request)), SERIES_TAGS)

    def all_series(self, request: Request, _parts: Parts, source: Source) -> Response:
        """Search for series of any study."""
        found = searches.series(source.everything(), self._root_of(request))
        return _answer(request, found, {**SERIES_TAGS, _STUDY_NAMES[0]: ""})

    def instances(self, request: Request, parts: Parts, source: Source) -> Response:
        """Search for the instances of a study or of one series."""
        study = parts["study"]
        root = f"{self._root_of(request)}/studies/{study}/series"
        found = []
        for series, packed in source.metadata(study, parts.get("series"))[0]:
            found += searches.instances(read_instances(unpack(packed)), f"{root}/{series}")
        return _answer(request, found, INSTANCE_TAGS)

    def _look_for(self, request: Request, source: Source) -> None:
        """Have one study fetched that is asked for by name and not held."""
        uid = _asked(request, _STUDY_NAMES)
        if not self._reads_through or not is_uid(uid) or not source.may_find(uid):
            return
        if self._holdings.of_study(uid):
            return
        if not source.reads_through:
            raise StudyNotFoundError("study: not held here")
        try:
            source.rows(uid)
        except StudyNotFoundError:
            return  # nobody has it: nothing matches


def _asked(request: Request, names: tuple[str, str]) -> str:
    text = request.asked(names[0]) or request.asked(names[1])
    return "" if {*text} & {*"*?,\\"} else text


def _ranked(found: list[Attributes], order: Order) -> list[Attributes]:
    """The studies by rank, those without one after them."""
    uids = [text_of(one, "0020000D") for one in found]
    ranks = order(uids)
    last = len(ranks) + max(ranks.values(), default=0)
    ranked = sorted(zip(uids, found, strict=True), key=lambda pair: ranks.get(pair[0], last + 1))
    return [one for _, one in ranked]


def _answer(request: Request, results: list[Attributes], tags: Collection[str]) -> Response:
    if not media.accepts_json(request.accept):
        return refusal(406, "accept: search results are DICOM JSON")
    page = searches.search(results, request.query, tags=tags)
    if not page:
        return Response(204, (_CACHING,))  # PS3.18 Table 10.6.3-1: nothing matches
    return json_response(page, media_type=media.DICOM_JSON, headers=(_CACHING,))
