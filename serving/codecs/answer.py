"""What a codec gives back: an answer's bytes and status, or an error in the one shape that all our errors have."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Logged:
    """What the prediction log keeps of a request and its answer, where it is not the bytes that went over the wire.

    Attributes:
        content_type: Of `request`.
        request: The request in MLflow's scoring protocol, which the log's readers know.
        response: The answer in the same.
        redacted: Whether it has been rewritten as the model's policy on personal data wants it.
        refused: Why it must not be logged at all: it is not certain where personal data is in it.
    """

    content_type: str
    request: bytes
    response: bytes
    redacted: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it becomes HTTP.

    Attributes:
        status: HTTP status.
        body: Bytes of a successful answer; empty for an error.
        media_type: Media type of `body`.
        error: For an error: `error_code`, `message` and what else MLflow says; the request id is added on the way out.
        headers: Headers of a successful answer beside those that every answer has.
        logged: What the prediction log keeps; `None` for the bytes of request and answer as they are.
        rows: How many rows were asked about, where that is known.
        engine: What computed it.
    """

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    error: dict[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    logged: Logged | None = None
    rows: int | None = None
    engine: str = "mlflow"


def error(status: int, code: str, message: str, **more: Any) -> Answer:
    """Make an error."""
    return Answer(status, error={"error_code": code, "message": message, **more})


def error_body(content: dict[str, Any], request_id: str) -> bytes:
    """Write an error with its request id as JSON."""
    return json.dumps({**content, "request_id": request_id}).encode()
