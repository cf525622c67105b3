"""domain.causes: our errors are told with the field they name, foreign ones by name alone."""

import json

import pytest

from teleprefetch.domain.causes import cause_of


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            {
                "Error": "InvalidPayloadError",
                "Cause": json.dumps({"errorMessage": "detail.x: bad"}),
            },
            "InvalidPayloadError: detail.x: bad",
        ),
        (
            {"Error": "NodeUnavailableError", "Cause": "store: full"},
            "NodeUnavailableError: store: full",
        ),
        ({"Error": "States.Timeout", "Cause": ""}, "States.Timeout"),
        ({"Error": "KeyError", "Cause": json.dumps({"errorMessage": "Doe^Jane"})}, "KeyError"),
        ({"Error": "States.DataLimitExceeded", "Cause": "…Doe^Jane…"}, "States.DataLimitExceeded"),
        (None, ""),
        ("text", ""),
    ],
)
def test_what_may_be_told_of_an_error(error: object, told: str) -> None:
    assert cause_of(error) == told
