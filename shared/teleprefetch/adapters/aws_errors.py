"""The errors of AWS' services in our words.

Source: the "Common errors" of each service's API reference; botocore's exceptions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
)

from teleprefetch.errors import (
    AccessDeniedError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
)

_THROTTLED: Final = frozenset(
    {
        "ExecutionLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "KMSAccessDeniedException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_MISSING: Final = frozenset({"404", "NoSuchBucket", "NoSuchKey"})


@contextmanager
def in_our_words(what: str) -> Iterator[None]:
    """Turn what botocore raises inside the block into an error of ours.

    Args:
        what: the thing that is called, for the message; never content.

    Raises:
        OriginThrottledError: the service asks to slow down.
        AccessDeniedError: the caller may not, or its credentials are not valid.
        InvalidPayloadError: the service says that the request is malformed (4xx).
        OriginUnavailableError: 5xx, an object that is not there, no connection, a time-out.
    """
    try:
        yield
    except ClientError as error:
        raise _ours(error, what) from error
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise AccessDeniedError(f"{what}: no credentials") from error
    except BotoCoreError as error:
        raise OriginUnavailableError(f"{what}: {type(error).__name__}") from error


def _ours(error: ClientError, what: str) -> PrefetchError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    said = f"{what}: {code or status}"
    if code in _THROTTLED or status == 429:
        return OriginThrottledError(said)
    if code in _DENIED or status in {401, 403}:
        return AccessDeniedError(said)
    if code in _MISSING or status >= 500:
        return OriginUnavailableError(said)
    return InvalidPayloadError(said)
