"""What a client accepts (PS3.18 8.7.4, 8.7.5), and what of it a stored frame can be sent as."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from teleprefetch.dicom import EXPLICIT_VR_LITTLE_ENDIAN, media_type_of
from teleprefetch.domain.multipart import ContentType
from teleprefetch.edge.store.holdings import StoredFrame

_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_MULTIPART: Final = "multipart/related"
_OCTETS: Final = "application/octet-stream"
_ANY: Final = "*/*"
DICOM_JSON: Final = "application/dicom+json"
DICOM: Final = "application/dicom"
_UNCOMPRESSED: Final = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2"})
# PS3.18 Table 8.7.3-5, beyond those that the pipeline writes itself.
_MEDIA_TYPES: Final = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
}


@dataclass(frozen=True, slots=True)
class Representation:
    """How frames are sent: as parts of one answer or as the answer, and as which media type."""

    is_multipart: bool
    media_type: str


def accepted(accept: str) -> list[ContentType]:
    """The media ranges of an Accept header by their weight (RFC 9110 12.5.1); all if empty."""
    ranges = [ContentType.parse(element) for element in _ELEMENT.findall(accept)]
    weighed = [(_weight(one), one) for one in ranges if one.media_type]
    if not weighed:
        return [ContentType.parse(_ANY)]
    return [one for weight, one in sorted(weighed, key=lambda pair: -pair[0]) if weight > 0]


def accepts_json(accept: str) -> bool:
    """Tell whether DICOM JSON may be sent."""
    takes = {DICOM_JSON, "application/json", "application/*", _ANY}
    return any(one.media_type in takes for one in accepted(accept))


def are_uncompressed(frames: Sequence[StoredFrame]) -> bool:
    """Tell whether frames, one after the other, are the pixel data of their instance."""
    return {frame.transfer_syntax_uid for frame in frames} <= _UNCOMPRESSED


def image_type(accept: str, offered: Sequence[str]) -> str | None:
    """Which of the offered media types, the first by default, a client takes; None if none."""
    for one in accepted(accept):
        kind = one.media_type.partition("/")[0]
        for media_type in offered:
            if one.media_type in {
                media_type,
                _ANY,
                f"{kind}/*" if media_type.startswith(kind) else "",
            }:
                return media_type
    return None


def dicom_form(accept: str, transfer_syntax_uid: str) -> Representation | None:
    """How an instance in this transfer syntax can be sent; None if not without transcoding.

    The default of `application/dicom` is Explicit VR Little Endian (PS3.18 8.7.3.5.2). A client
    that names no transfer syntax gets the stored one all the same: the file states it itself, and
    that is what archives answer.
    """
    for one in accepted(accept):
        is_multipart = one.media_type in {_MULTIPART, _ANY}
        wanted = one.root_media_type or DICOM if one.media_type == _MULTIPART else one.media_type
        if wanted in {DICOM, _ANY, "application/*"} and one.transfer_syntax_uid in {
            "",
            "*",
            transfer_syntax_uid,
        }:
            return Representation(is_multipart, DICOM)
    return None


def representation(
    accept: str, transfer_syntax_uids: Sequence[str], *, may_be_single: bool
) -> Representation | None:
    """How frames in these transfer syntaxes can be sent without transcoding; None if not at all.

    Without `transfer-syntax`, an octet stream means the default of its table, Explicit VR Little
    Endian (PS3.18 Table 8.7.3-5): compressed frames are never passed off as that.
    """
    for one in accepted(accept):
        is_multipart = one.media_type in {_MULTIPART, _ANY}
        if not is_multipart and not may_be_single:
            continue
        wanted = one.root_media_type or _OCTETS if one.media_type == _MULTIPART else one.media_type
        types = {_media_type(wanted, one.transfer_syntax_uid, uid) for uid in transfer_syntax_uids}
        if len(types) == 1 and None not in types:
            return Representation(is_multipart, str(types.pop()))
    return None


def _media_type(wanted: str, wanted_syntax: str, syntax: str) -> str | None:
    native = _MEDIA_TYPES.get(syntax) or media_type_of(syntax)
    if wanted_syntax not in {"", "*", syntax}:
        return None
    if wanted == _ANY:
        return _OCTETS
    if wanted == _OCTETS:
        is_default = syntax == EXPLICIT_VR_LITTLE_ENDIAN
        return _OCTETS if wanted_syntax or is_default else None
    if native != _OCTETS and wanted in {native, "image/*"}:
        return native
    return None


def _weight(one: ContentType) -> float:
    text = one.parameters.get("q", "1")
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 1.0
