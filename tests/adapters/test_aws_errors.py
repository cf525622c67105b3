"""adapters.aws_errors: each error that AWS' services raise is one of ours, and tells no content."""

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from teleprefetch.adapters.aws_errors import in_our_words
from teleprefetch.errors import (
    AccessDeniedError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
)


def client_error(code: str, status: int) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "about Doe^Jane"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetItem")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (client_error("ThrottlingException", 400), OriginThrottledError),
        (client_error("ProvisionedThroughputExceededException", 400), OriginThrottledError),
        (client_error("SlowDown", 503), OriginThrottledError),
        (client_error("TooManyRequests", 429), OriginThrottledError),
        (client_error("AccessDeniedException", 400), AccessDeniedError),
        (client_error("ExpiredTokenException", 400), AccessDeniedError),
        (client_error("Forbidden", 403), AccessDeniedError),
        (client_error("NoSuchKey", 404), OriginUnavailableError),
        (client_error("InternalServerError", 500), OriginUnavailableError),
        (client_error("ServiceUnavailable", 503), OriginUnavailableError),
        (client_error("ValidationException", 400), InvalidPayloadError),
        (client_error("ResourceNotFoundException", 400), InvalidPayloadError),
        (EndpointConnectionError(endpoint_url="http://x"), OriginUnavailableError),
        (ConnectTimeoutError(endpoint_url="http://x"), OriginUnavailableError),
        (ReadTimeoutError(endpoint_url="http://x"), OriginUnavailableError),
        (NoCredentialsError(), AccessDeniedError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:60],
)
def test_what_a_service_raises_is_told_in_our_words(
    error: Exception, ours: type[PrefetchError]
) -> None:
    with pytest.raises(ours, match=r"^table: ") as caught, in_our_words("table"):
        raise error
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is error
