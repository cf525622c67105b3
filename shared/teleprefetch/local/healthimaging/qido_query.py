"""What a QIDO-RS search asks: match keys, fields, a window (developer guide, "Searching")."""

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydicom.datadict import tag_for_keyword

from teleprefetch.local.healthimaging.wire import Request, ServiceError

Level = Literal["study", "series", "instance"]
Row = dict[str, Any]
MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 1_000_000
_MAX_FIELDS: Final = 50
_KEYS: Final[dict[Level, tuple[str, ...]]] = {
    "study": (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientBirthTime",
        "StudyInstanceUID",
        "StudyID",
    ),
    "series": ("Modality", "SeriesInstanceUID"),
    "instance": ("SOPClassUID", "SOPInstanceUID", "WarningReason"),
}
_RANGES: Final = {"StudyDate", "StudyTime", "PatientBirthDate", "PatientBirthTime"}
_WILDCARDS: Final = {
    "PatientName",
    "ReferringPhysicianName",
    "PatientID",
    "StudyDescription",
    "Modality",
    "AccessionNumber",
}
_NAMES: Final = {"PatientName", "ReferringPhysicianName"}


@dataclass(frozen=True, slots=True)
class Query:
    """One search; `fields` are tags asked for beyond the usual ones, or None for all."""

    tests: dict[str, Callable[[list[str]], bool]]
    fields: frozenset[str] | None
    limit: int
    offset: int

    def matches(self, row: Row) -> bool:
        """Whether a data set in DICOM JSON has what the query asks for."""
        return all(test(texts_of(row, tag)) for tag, test in self.tests.items())


def query_of(request: Request, levels: tuple[Level, ...]) -> Query:
    """Read a search.

    Args:
        request: the request.
        levels: whose match keys there are.

    Raises:
        ServiceError: ValidationException, naming the parameter.
    """
    keys = {keyword: _tag_of(keyword) for level in levels for keyword in _KEYS[level]}
    pairs = [(name, value) for name, value in request.query() if name != "includefield"]
    options = {name: value for name, value in pairs if name in {"limit", "offset"}}
    fuzzy = ("fuzzymatching", "true") in pairs
    tests: dict[str, Callable[[list[str]], bool]] = {}
    for name, value in pairs:
        if name in {"limit", "offset", "fuzzymatching"}:
            continue
        keyword = _keyword_of(name, keys)
        if value:
            tests[keys[keyword]] = _test_of(keyword, value, fuzzy=fuzzy)
    return Query(
        tests=tests,
        fields=_fields_of(request),
        limit=_integer(options.get("limit", str(MAX_LIMIT)), "limit", MAX_LIMIT),
        offset=_integer(options.get("offset", "0"), "offset", MAX_OFFSET),
    )


def texts_of(row: Row, tag: str) -> list[str]:
    """The values of an attribute as text; of a name, its alphabetic group."""
    values = row.get(tag, {}).get("Value", ())
    return [
        str(value.get("Alphabetic", "")) if isinstance(value, dict) else str(value)
        for value in values
    ]


def _keyword_of(name: str, keys: Mapping[str, str]) -> str:
    for keyword, tag in keys.items():
        if name == keyword or name.upper() == tag:
            return keyword
    raise ServiceError("ValidationException", "A query parameter is no match key of this search")


def _fields_of(request: Request) -> frozenset[str] | None:
    values = [value for name, value in request.query() if name == "includefield"]
    names = [name for value in values for name in value.split(",") if name]
    if "all" in names:
        return None
    if len(names) > _MAX_FIELDS:
        raise ServiceError("ValidationException", f"includefield names more than {_MAX_FIELDS}")
    # A path into a sequence brings the whole sequence; what nobody knows brings nothing.
    return frozenset(_tag_of(name.partition(".")[0]) for name in names)


def _tag_of(name: str) -> str:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    tag = tag_for_keyword(name)
    return "" if tag is None else f"{tag:08X}"


def _integer(text: str, name: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > maximum:
        raise ServiceError("ValidationException", f"{name} is not between 0 and {maximum}")
    return int(text)


def _test_of(keyword: str, value: str, *, fuzzy: bool) -> Callable[[list[str]], bool]:
    if keyword in _RANGES and "-" in value:
        low, _, high = value.partition("-")
        return lambda texts: any(_within(text, low, high) for text in texts)
    if keyword.endswith("UID"):
        wanted = set(re.split(r"[,\\]", value))
        return lambda texts: any(text in wanted for text in texts)
    if keyword in _NAMES and fuzzy:
        words = value.lower().replace("^", " ").split()
        return lambda texts: any(_sounds_like(text, words) for text in texts)
    if keyword in _WILDCARDS and ("*" in value or "?" in value):
        pattern = re.compile(fnmatch.translate(value.replace("[", "[[]")), re.IGNORECASE)
        return lambda texts: any(pattern.fullmatch(text) for text in texts or [""])
    return lambda texts: value in texts


def _within(text: str, low: str, high: str) -> bool:
    return bool(text) and low <= text and (not high or text[: len(high)] <= high)


def _sounds_like(text: str, words: list[str]) -> bool:
    parts = re.split(r"[\^\s]+", text.lower())
    return all(any(part.startswith(word) for part in parts) for word in words)
