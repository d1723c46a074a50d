"""What a codec gives back: an answer's bytes and status, or an error in the one shape that all our errors have."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it becomes HTTP.

    Attributes:
        status: HTTP status.
        body: Bytes of a successful answer; empty for an error.
        media_type: Media type of `body`.
        error: For an error: `error_code`, `message` and what else MLflow says; the request id is added on the way out.
    """

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    error: dict[str, Any] | None = None


def error(status: int, code: str, message: str, **more: Any) -> Answer:
    """Make an error."""
    return Answer(status, error={"error_code": code, "message": message, **more})


def error_body(content: dict[str, Any], request_id: str) -> bytes:
    """Write an error with its request id as JSON."""
    return json.dumps({**content, "request_id": request_id}).encode()
