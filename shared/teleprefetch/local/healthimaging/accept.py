"""What a client accepts (RFC 9110 12.5.1), with the parameters DICOMweb adds (PS3.18 8.7)."""

import re
from dataclasses import dataclass
from typing import Final

from teleprefetch.local.healthimaging.wire import Request, ServiceError

DICOM_JSON: Final = "application/dicom+json"
_JSON: Final = {DICOM_JSON, "application/json", "application/*", "*/*"}
_OUTSIDE_QUOTES = re.compile(r'("[^"]*"|[^,;"]+|[,;])')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One member of an Accept header; parameters are in lower case and without quotes."""

    media_type: str
    parameters: dict[str, str]

    @property
    def quality(self) -> float:
        """Its weight; what cannot be read counts as 1."""
        text = self.parameters.get("q", "1")
        return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 1.0


def accepted(request: Request) -> list[MediaRange]:
    """What the request accepts, the most welcome first; without a header: anything."""
    ranges = _parse(request.headers.get("accept", "")) or [MediaRange("*/*", {})]
    welcome = [each for each in ranges if each.quality > 0]
    return sorted(welcome, key=lambda each: -each.quality)


def require_json(request: Request, *, only: bool) -> None:
    """Return if the request accepts DICOM JSON.

    Args:
        request: the request.
        only: refuse a request that would accept other things as well; HealthImaging's searches
            do so (OHIF issue 5442).

    Raises:
        ServiceError: NotAcceptableException.
    """
    fits = [each.media_type in _JSON for each in accepted(request)]
    if not (all(fits) if only else any(fits)) or not fits:
        raise ServiceError("NotAcceptableException", "Only application/dicom+json is available")


def _parse(header: str) -> list[MediaRange]:
    ranges: list[MediaRange] = []
    for member in _split(header, ","):
        head, *parameters = _split(member, ";")
        pairs = (parameter.partition("=") for parameter in parameters)
        ranges.append(
            MediaRange(
                head.lower(),
                {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs},
            )
        )
    return ranges


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    for piece in _OUTSIDE_QUOTES.findall(text):
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]
