"""Times as people write them, for every command and page: so long ago, or ISO 8601."""

from datetime import UTC, datetime, timedelta
from typing import Final

from teleprefetch.errors import InvalidPayloadError

WRITTEN: Final = "90m, 24h or 7d ago, or ISO 8601 (UTC if it names no offset)"
"""How a time may be written, for help and hints."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def time_of(text: str, *, now: datetime, option: str) -> datetime:
    """A time as people write it; ISO 8601 without an offset is UTC, a date alone its midnight.

    Args:
        text: what was written.
        now: what "ago" counts from.
        option: what the error names.

    Raises:
        InvalidPayloadError: it is no time, or none that a calendar has.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            return now - timedelta(seconds=int(number) * _UNITS[unit])
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidPayloadError(f"{option}: neither like 24h or 7d nor ISO 8601") from None
    return at


def span_of(
    since: str | None, until: str | None, *, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The times of --since and --until, each None if it was not given; raises as `time_of`."""
    return (
        time_of(since, now=now, option="--since") if since else None,
        time_of(until, now=now, option="--until") if until else None,
    )
