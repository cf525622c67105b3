"""HealthImaging's errors in our words: botocore's, and those of an answer by itself."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from teleprefetch.adapters.http_reader import HttpAnswer, error_of_status
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
)

SIGNING_NAME: Final = "medical-imaging"

# By botocore's medical-imaging model and the API reference, "Common errors", which AWS sends with
# several statuses; every other code is judged by its status.
_ERRORS_BY_CODE: Final[dict[str, type[PrefetchError]]] = {
    "ThrottlingException": OriginThrottledError,
    "Throttling": OriginThrottledError,
    "TooManyRequestsException": OriginThrottledError,
    "RequestLimitExceeded": OriginThrottledError,
    "ServiceQuotaExceededException": OriginThrottledError,
    "ConflictException": OriginUnavailableError,
    "ExpiredTokenException": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "InvalidSignatureException": AccessDeniedError,
    "IncompleteSignatureException": AccessDeniedError,
    "MissingAuthenticationTokenException": AccessDeniedError,
}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what botocore raises inside the block into an error of ours.

    Raises:
        PrefetchError: by the code or the status; OriginUnavailableError for no connection, a reset
            or a time-out; CorruptPayloadError for an answer that cannot be read.
    """
    try:
        yield
    except ClientError as error:
        raise _ours(error, operation) from error
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise AccessDeniedError(f"{operation}: no credentials") from error
    except ParamValidationError as error:
        raise InvalidPayloadError(f"{operation}: a parameter breaks its contract") from error
    except ResponseParserError as error:
        raise CorruptPayloadError(f"{operation}: the answer cannot be read") from error
    except ResponseStreamingError as error:
        raise _broken_stream(error, operation) from error
    except BotoCoreError as error:
        raise OriginUnavailableError(f"{operation}: {type(error).__name__}") from error


def by_code(answer: HttpAnswer, operation: str) -> PrefetchError:
    """The error of an answer of the native API, as botocore would read it (its `RestJSONParser`).

    The code is in a header, or in the body; the message may name content, and is left out.
    """
    code = answer.headers.get("x-amzn-errortype") or _code_in(answer.content)
    code = code.split(":", 1)[0].rsplit("#", 1)[-1]
    if code in _ERRORS_BY_CODE:
        return _ERRORS_BY_CODE[code](f"{operation}: {code}")
    return error_of_status(answer.status, operation)


def _code_in(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return ""  # a proxy's page, or nothing
    code = document.get("__type") or document.get("code") if isinstance(document, dict) else ""
    return code if isinstance(code, str) else ""


def _ours(error: ClientError, operation: str) -> PrefetchError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _ERRORS_BY_CODE:
        return _ERRORS_BY_CODE[code](f"{operation}: {code}")
    return error_of_status(error.response["ResponseMetadata"]["HTTPStatusCode"], operation)


def _broken_stream(error: ResponseStreamingError, operation: str) -> PrefetchError:
    cause = error.kwargs.get("error")
    if isinstance(getattr(cause, "__cause__", None), IncompleteRead):
        return CorruptPayloadError(f"{operation}: body shorter than announced")
    return OriginUnavailableError(f"{operation}: the connection broke")
