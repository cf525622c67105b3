"""Times as people write them: one reading for all commands and pages."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.times import span_of, time_of
from teleprefetch.errors import InvalidPayloadError

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("90m", NOW - timedelta(minutes=90)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("0s", NOW),
        ("2026-11-24T08:00:00Z", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24T08:00:00+01:00", datetime(2026, 11, 24, 7, tzinfo=UTC)),
        ("2026-11-24T08:00:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24 08:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("20261124T080000Z", datetime(2026, 11, 24, 8, tzinfo=UTC)),
    ],
)
def test_a_time_is_so_long_ago_or_iso_8601_and_utc_without_an_offset(
    text: str, at: datetime
) -> None:
    read = time_of(text, now=NOW, option="--since")
    assert read == at
    assert read.tzinfo is not None


@pytest.mark.parametrize(
    "text",
    ["", "h", "24", "-1h", "1.5h", "24 h", "yesterday", "2026-13-01", "9" * 30 + "d",
     "0001-01-01T00:00:00+14:00", "24h\n"],
)  # fmt: skip
def test_what_is_no_time_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(InvalidPayloadError, match="--until: neither like 24h or 7d nor ISO 8601"):
        time_of(text, now=NOW, option="--until")


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_each_time_in_iso_8601_is_read_as_it_was_written(naive: datetime, minutes: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert time_of(at.isoformat(), now=NOW, option="t") == at
    assert time_of(naive.isoformat(), now=NOW, option="t") == naive.replace(tzinfo=UTC)


@given(st.text(max_size=12))
def test_any_other_text_is_a_time_or_an_error_of_ours(text: str) -> None:
    with suppress(InvalidPayloadError):
        assert time_of(text, now=NOW, option="t").tzinfo is not None


def test_of_a_span_each_end_may_lack() -> None:
    assert span_of(None, None, now=NOW) == (None, None)
    assert span_of("1h", None, now=NOW) == (NOW - timedelta(hours=1), None)
    assert span_of(None, "2026-11-24", now=NOW) == (None, datetime(2026, 11, 24, tzinfo=UTC))
