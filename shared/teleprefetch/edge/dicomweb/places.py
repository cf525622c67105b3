"""The node's addresses: what each is of, and what one must be allowed to do to ask there."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from teleprefetch.dicom import is_uid
from teleprefetch.domain.policy.access import Action
from teleprefetch.edge.dicomweb.messages import Request, Response
from teleprefetch.edge.dicomweb.sources import Source
from teleprefetch.edge.dicomweb.urls import ROOT

_STUDY: Final = rf"{ROOT}/studies/(?P<study>[^/]*)"
_SERIES: Final = rf"{_STUDY}/series/(?P<series>[^/]*)"
_INSTANCE: Final = rf"{_SERIES}/instances/(?P<sop>[^/]*)"
_FRAMES: Final = rf"{_INSTANCE}/frames/(?P<list>[^/]*)"
_NOT_UIDS: Final = frozenset({"list", "place"})
ANYBODY: Final = None
"""Instead of an action: whoever asks is answered, and nothing is recorded."""
_ADDRESSES: Final[tuple[tuple[str, str, str, Action | None], ...]] = (
    ("frames", "frames", _FRAMES, "frames"),
    ("series-metadata", "metadata", rf"{_SERIES}/metadata", "metadata"),
    ("search-studies", "search", rf"{ROOT}/studies", "search"),
    ("search-study-series", "search", rf"{_STUDY}/series", "search"),
    ("search-series", "search", rf"{ROOT}/series", "search"),
    ("search-series-instances", "search", rf"{_SERIES}/instances", "search"),
    ("search-study-instances", "search", rf"{_STUDY}/instances", "search"),
    ("study-metadata", "metadata", rf"{_STUDY}/metadata", "metadata"),
    ("instance-metadata", "metadata", rf"{_INSTANCE}/metadata", "metadata"),
    ("instance", "instance", _INSTANCE, "frames"),
    ("bulkdata", "bulkdata", rf"{_INSTANCE}/bulkdata/(?P<place>.+)", "frames"),
    ("rendered-instance", "rendered", rf"{_INSTANCE}/rendered", "rendered"),
    ("rendered-frame", "rendered", rf"{_FRAMES}/rendered", "rendered"),
    ("frame-thumbnail", "thumbnail", rf"{_FRAMES}/thumbnail", "rendered"),
    ("instance-thumbnail", "thumbnail", rf"{_INSTANCE}/thumbnail", "rendered"),
    ("series-thumbnail", "thumbnail", rf"{_SERIES}/thumbnail", "rendered"),
    ("study-thumbnail", "thumbnail", rf"{_STUDY}/thumbnail", "rendered"),
    ("warm", "warm", r"/warm", "status"),
    ("warm-study", "warm", r"/warm/studies/(?P<study>[^/]*)", "status"),
    ("metrics", "metrics", r"/metrics", "status"),
    ("health", "health", r"/healthz", ANYBODY),
    ("readiness", "health", r"/readyz", ANYBODY),
)
Parts = dict[str, str]
Handler = Callable[[Request, Parts, Source], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """An address: its name, the kind of its answers, and the action that it takes."""

    name: str
    kind: str
    pattern: "re.Pattern[str]"
    action: Action | None
    handler: Handler


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes; `route` None is a site's address, or nobody's.

    `study` None means that it is about no one study; `fault` says which part of the path cannot
    be, and then nothing of it is here.
    """

    action: Action | None
    route: Route | None = None
    parts: Parts = field(default_factory=dict)
    study: str | None = None
    fault: str = ""


def routes_of(handlers: dict[str, Handler]) -> list[Route]:
    """All routes, with the handlers by their names, the most asked first."""
    return [
        Route(name, kind, re.compile(pattern), action, handlers[name])
        for name, kind, pattern, action in _ADDRESSES
    ]


def place_among(routes: Iterable[Route], path: str) -> Place | None:
    """The place of a path, or None if no route has it."""
    for route in routes:
        found = route.pattern.fullmatch(path)
        if found is not None:
            parts = {name: unquote(text) for name, text in found.groupdict().items()}
            for name in parts.keys() - _NOT_UIDS:
                if not is_uid(parts[name]):
                    return Place(route.action, route, fault=f"path.{name}: not a UID")
            return Place(route.action, route, parts, parts.get("study"))
    return None
