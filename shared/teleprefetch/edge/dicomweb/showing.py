"""What a response shows, in the words of the audit."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from teleprefetch.edge.dicomweb.messages import Response, Shown
from teleprefetch.edge.dicomweb.places import Place
from teleprefetch.edge.store.holdings import Holdings
from teleprefetch.edge.store.rows import SeriesRow
from teleprefetch.errors import PrefetchError

_NUMBERS: Final = re.compile(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,999}", re.ASCII)
_MOST_IMAGE_SETS: Final = 16
_CONTENT: Final = frozenset({200, 206, 304})


def asked_at(place: Place) -> Shown:
    """What a path asks for, whether or not it is there."""
    numbers = place.parts.get("list", "")
    return Shown(
        series=place.parts.get("series", ""),
        instance=place.parts.get("sop", ""),
        frames=tuple(map(int, numbers.split(","))) if _NUMBERS.fullmatch(numbers) else (),
    )


def shown_at(place: Place, response: Response, holdings: Holdings) -> Shown:
    """What a response shows, with the image sets and versions that it came from."""
    asked, told = asked_at(place), response.shown
    shown = replace(
        asked,
        series=told.series or asked.series,
        instance=told.instance or asked.instance,
        frames=told.frames or asked.frames,
    )
    if response.status not in _CONTENT or place.study is None or place.action == "search":
        return shown
    rows = _rows(place.study, shown.series, response, holdings)
    if told.version:
        rows = [row for row in rows if str(row.series.version_id) == told.version]
    if len(rows) > _MOST_IMAGE_SETS:  # of a study: its entity tag tells them all
        return shown
    return replace(
        shown,
        image_set=_listed([row.series.image_set_id or "" for row in rows]),
        version=told.version or _listed([str(row.series.version_id) for row in rows]),
    )


def _rows(study: str, series: str, response: Response, holdings: Holdings) -> Sequence[SeriesRow]:
    if response.basis is not None:
        return response.basis.rows
    # What was read through while the index cannot be read is shown all the same.
    with suppress(PrefetchError):
        found = holdings.of_study(study)
        return [row for row in found if series in {"", row.series.series_instance_uid}]
    return ()


def _listed(texts: Sequence[str]) -> str:
    return ",".join(dict.fromkeys(text for text in texts if text))
