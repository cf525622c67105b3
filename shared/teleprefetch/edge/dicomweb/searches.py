"""QIDO-RS over what the node holds (PS3.18 8.3.4, 10.6)."""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from teleprefetch.edge.store.attributes import (
    INSTANCE_TAGS,
    SERIES_TAGS,
    STUDY_TAGS,
    Attributes,
    text_of,
)
from teleprefetch.edge.store.rows import SeriesRow
from teleprefetch.errors import InvalidPayloadError

_MOST: Final = 1000
_CONTROLS: Final = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept"})
_DATES: Final = frozenset({"00080020", "00080021", "00100030"})
_MODALITIES_IN_STUDY: Final = "00080061"  # computed, not kept
_TAG_BY_KEYWORD: Final = {
    keyword: tag
    for tags in (STUDY_TAGS, SERIES_TAGS, INSTANCE_TAGS)
    for tag, keyword in tags.items()
} | {"ModalitiesInStudy": _MODALITIES_IN_STUDY}

STUDY_KEYS: Final = frozenset({*STUDY_TAGS, _MODALITIES_IN_STUDY})


def search(
    found: Iterable[Attributes], query: Sequence[tuple[str, str]], *, tags: Collection[str]
) -> list[Attributes]:
    """The results that match a query by these attributes, cut to its page.

    `includefield` changes nothing: whatever is kept of an attribute is always answered.

    Raises:
        InvalidPayloadError: a parameter is no attribute of these results, or a number is none.
    """
    keys = [(_tag(name, tags), value) for name, value in query if name not in _CONTROLS and value]
    limit = min(_number(query, "limit", _MOST), _MOST)
    offset = _number(query, "offset", 0)
    matching = [one for one in found if all(_matches(one, tag, text) for tag, text in keys)]
    return matching[offset : offset + limit]


def studies(rows: Iterable[SeriesRow], root: str) -> list[Attributes]:
    """A result for each study (Table 10.6.3-3), in the order of the rows."""
    by_study: dict[str, list[SeriesRow]] = {}
    for row in rows:
        by_study.setdefault(row.series.study_instance_uid, []).append(row)
    return [_study(uid, held, root) for uid, held in by_study.items()]


def newest_first(found: Iterable[Attributes]) -> list[Attributes]:
    """Studies by date and time; those of one moment stay as they are."""
    return sorted(
        found, key=lambda one: (text_of(one, "00080020"), text_of(one, "00080030")), reverse=True
    )


def series(rows: Iterable[SeriesRow], root: str) -> list[Attributes]:
    """A result for each series (Table 10.6.3-4), by SeriesNumber."""
    by_series: dict[str, list[SeriesRow]] = {}
    for row in rows:
        by_series.setdefault(row.series.series_instance_uid, []).append(row)
    results = [_series(held, root) for held in by_series.values()]
    return sorted(results, key=lambda one: _whole_number(text_of(one, "00200011")))


def instances(documents: Iterable[Attributes], root: str) -> list[Attributes]:
    """A result for each instance (Table 10.6.3-5), by InstanceNumber."""
    results = []
    for document in documents:
        url = f"{root}/instances/{text_of(document, '00080018')}"
        kept = {tag: document[tag] for tag in INSTANCE_TAGS if tag in document}
        results.append(kept | _retrievable(url))
    return sorted(results, key=lambda one: _whole_number(text_of(one, "00200013")))


def _study(uid: str, held: list[SeriesRow], root: str) -> Attributes:
    first = held[0].attributes
    modalities = sorted({text_of(row.attributes, "00080060") for row in held} - {""})
    return {
        **{tag: first[tag] for tag in STUDY_TAGS if tag in first},
        _MODALITIES_IN_STUDY: {"vr": "CS", "Value": [*modalities]},
        "00201206": _count(len({row.series.series_instance_uid for row in held})),
        "00201208": _count(sum(row.instances for row in held)),
        **_retrievable(f"{root}/studies/{uid}"),
    }


def _series(held: list[SeriesRow], root: str) -> Attributes:
    pointer, first = held[0].series, held[0].attributes
    url = f"{root}/studies/{pointer.study_instance_uid}/series/{pointer.series_instance_uid}"
    return {
        **{tag: first[tag] for tag in SERIES_TAGS if tag in first},
        "00080005": first.get("00080005", {"vr": "CS"}),
        "0020000D": first["0020000D"],
        "00201209": _count(sum(row.instances for row in held)),
        **_retrievable(url),
    }


def _retrievable(url: str) -> Attributes:
    return {
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00081190": {"vr": "UR", "Value": [url]},
    }


def _count(number: int) -> Attributes:
    return {"vr": "IS", "Value": [number]}


def _tag(name: str, tags: Collection[str]) -> str:
    tag = _TAG_BY_KEYWORD.get(name, name.upper())
    if tag not in tags:
        raise InvalidPayloadError("query: a parameter is not an attribute that is matched here")
    return tag


def _matches(found: Attributes, tag: str, wanted: str) -> bool:
    """Match one attribute (PS3.4 C.2.2.2): a list of UIDs, a range of dates, or wildcards."""
    values = _texts(found, tag)
    if tag in {"0020000D", "0020000E", "00080018"}:
        return bool({*values} & {*wanted.replace("\\", ",").split(",")})
    if tag in _DATES and "-" in wanted:
        earliest, _, latest = wanted.partition("-")
        return any(earliest <= value and (not latest or value <= latest) for value in values)
    pattern = wanted.casefold().replace("[", "[[]")
    return any(fnmatchcase(value.casefold(), pattern) for value in values or [""])


def _texts(found: Attributes, tag: str) -> list[str]:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [
        str(value.get("Alphabetic", "")) if isinstance(value, dict) else str(value)
        for value in (values if isinstance(values, list) else [])
    ]


def _number(query: Sequence[tuple[str, str]], name: str, default: int) -> int:
    text = next((value for key, value in query if key == name), "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidPayloadError(f"query.{name}: not a whole number")
    return int(text)


def _whole_number(text: str) -> int:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else 0
