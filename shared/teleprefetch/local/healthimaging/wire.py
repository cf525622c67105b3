"""What goes over the wire: requests, responses and the errors HealthImaging documents."""

import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

# Statuses by botocore's medical-imaging 2023-07-19 model; below the line, by the "Common errors"
# of the API reference and by the developer guide, "OIDC authentication for DICOMweb APIs".
_STATUSES: Final = {
    "ValidationException": 400,
    "BadRequestException": 400,
    "ServiceQuotaExceededException": 402,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "NotAcceptableException": 406,
    "ConflictException": 409,
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
    "AuthorizerTimeoutException": 408,
    "AuthorizerFailedException": 424,
    "AuthorizerMisconfigurationException": 424,
    "AuthorizerCrossAccountException": 424,
    "UnknownOperationException": 404,
    "NotImplementedException": 501,
}


class ServiceError(Exception):
    """An error as a client sees it; it ends at the HTTP boundary and never leaves the server."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status = _STATUSES[error_type]
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `target` is the request target as it was sent, still percent-encoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def raw_path(self) -> str:
        """The path as it was sent, which is what a signature covers."""
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def raw_query(self) -> str:
        """The query as it was sent, without the question mark."""
        return self.target.partition("?")[2]

    def query(self) -> list[tuple[str, str]]:
        """The decoded query parameters in their order, empty ones too."""
        return parse_qsl(self.raw_query, keep_blank_values=True)

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name."""
        return next((value for key, value in self.query() if key == name), None)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            ServiceError: ValidationException, if it is not one.
        """
        try:
            document = json.loads(self.body or b"{}")
        except ValueError as error:
            raise ServiceError("ValidationException", "The body is not JSON") from error
        if not isinstance(document, dict):
            raise ServiceError("ValidationException", "The body is not a JSON object")
        return document


@dataclass(frozen=True, slots=True)
class Call:
    """A request for an operation, and what its path says by name."""

    request: Request
    path: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; a `paced` body shares the link whose bandwidth may be limited."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    paced: bool = False


def json_response(document: Any, *, content_type: str = "application/json") -> Response:
    """A 200 with a JSON document."""
    return Response(
        body=json.dumps(document, separators=(",", ":")).encode(), content_type=content_type
    )


def error_response(error: ServiceError) -> Response:
    """The error as rest-json has it: its name in x-amzn-ErrorType, its message in the body."""
    return Response(
        status=error.status,
        body=json.dumps({"message": error.message}).encode(),
        headers={"x-amzn-ErrorType": error.error_type},
    )
