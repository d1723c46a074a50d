"""Which HTTP status and error code an error of ours becomes: the one table."""

from mlflow_ext.errors import (
    ConflictError,
    GateRefusedError,
    InvalidInputError,
    MlflowExtError,
    NotFoundError,
    UnavailableError,
)
from serving.codecs.answer import Answer, error
from serving.compression import TooLargeError, UnknownEncodingError

RETRY_AFTER_S = 5
"""What a 503 tells clients to wait, in seconds."""

_STATUS: dict[type[MlflowExtError], tuple[int, str]] = {
    NotFoundError: (404, "RESOURCE_DOES_NOT_EXIST"),
    InvalidInputError: (400, "INVALID_PARAMETER_VALUE"),
    ConflictError: (409, "RESOURCE_CONFLICT"),
    GateRefusedError: (403, "PERMISSION_DENIED"),
    UnknownEncodingError: (415, "UNSUPPORTED_MEDIA_TYPE"),
    TooLargeError: (413, "PAYLOAD_TOO_LARGE"),
    UnavailableError: (503, "TEMPORARILY_UNAVAILABLE"),
}

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "REQUEST_HEADERS_TOO_LARGE",
}
"""Error codes for what the HTTP layer itself refuses, in MLflow's words where it has one."""


def refusal(exc: MlflowExtError) -> Answer:
    """Turn an error of ours into an answer."""
    for kind, (status, code) in _STATUS.items():
        if isinstance(exc, kind):
            return error(status, code, str(exc))
    return error(500, "INTERNAL_ERROR", str(exc))
