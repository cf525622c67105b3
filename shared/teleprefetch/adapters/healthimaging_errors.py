"""HealthImaging's errors in our words, and the signature that its DICOMweb requests need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from teleprefetch.adapters.dicomweb_service import Headers
from teleprefetch.adapters.http_reader import error_of_status
from teleprefetch.errors import (
    AccessDeniedError,
    CorruptPayloadError,
    InvalidPayloadError,
    OriginThrottledError,
    OriginUnavailableError,
    PrefetchError,
)

if TYPE_CHECKING:
    from botocore.credentials import Credentials

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


def signer(
    credentials: "Callable[[], Credentials | None]", region: str
) -> Callable[[str, Headers], Headers]:
    """What signs a GET of a URL (IAM user guide, "Signature Version 4").

    Args:
        credentials: the provider's; asked for each request, since they expire.
        region: the data store's.
    """

    def sign(url: str, headers: Headers) -> Headers:
        """The headers with the signature's.

        Raises:
            AccessDeniedError: there are no credentials.
        """
        with translated("credentials"):
            found = credentials()
            if found is None:
                raise NoCredentialsError
            request = AWSRequest("GET", url, headers=dict(headers))
            SigV4Auth(found.get_frozen_credentials(), SIGNING_NAME, region).add_auth(request)
        return dict(request.headers.items())

    return sign


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
