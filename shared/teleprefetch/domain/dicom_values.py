"""Single DICOM values as archives write them: padded, as text or as numbers, or malformed."""

import re
from typing import Any

from pydantic import ValidationError

from teleprefetch.dicom import is_uid
from teleprefetch.errors import CorruptPayloadError

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}", re.ASCII)  # PS3.5 6.2, IS
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})", re.ASCII)
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(?:\.[0-9]{1,6})?", re.ASCII)


def uid_of(text: str, keyword: str) -> str:
    """A UID that an archive sent.

    Raises:
        CorruptPayloadError: it is missing or malformed; the message names `keyword`.
    """
    if not is_uid(text):
        raise CorruptPayloadError(f"{keyword}: missing or not a UID")
    return text


def text_of(value: Any) -> str:
    """A value as text without padding; of a person's name, the first group (PS3.18 F.2.2)."""
    if isinstance(value, dict):
        groups = (value.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return next((text for text in map(text_of, groups) if text), "")
    if isinstance(value, str):
        return value.strip(" \0")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None or isinstance(value, bool) else str(value)


def integer_of(value: Any) -> int | None:
    """A whole number, given as one or as an integer string with padding; None if it is neither."""
    text = text_of(value)
    return int(text) if _INTEGER.fullmatch(text) else None


def date_of(text: str) -> str:
    """A date as YYYYMMDD, or nothing; also reads the old form with points (PS3.5 6.2)."""
    match = _DATE.fullmatch(text.strip())
    return "".join(match.groups()) if match else ""


def time_of(text: str) -> str:
    """A time as HHMMSS, or nothing; parts of a second are cut off."""
    match = _TIME.fullmatch(text.strip())
    return "".join(part or "00" for part in match.groups()) if match else ""


def in_order(instance_number: Any, sop_instance_uid: str) -> tuple[bool, int, str]:
    """A sort key: by InstanceNumber, those without one last, then by UID."""
    number = integer_of(instance_number)
    return number is None, number or 0, sop_instance_uid


def place_of(error: ValidationError) -> str:
    """Where in a document the first error is, and of what kind; nothing of its content."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(step) for step in first['loc']) or 'document'}: {first['type']}"
