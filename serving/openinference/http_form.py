"""What HTTP sees of the protocol beside bodies: the header of binary data, and the form of errors."""

import json
from typing import Any

HEADER_LENGTH = "Inference-Header-Content-Length"


def error_body(content: dict[str, Any], request_id: str) -> bytes:
    """Write an error as the protocol has it, with our code and request id beside it."""
    more = {"error_code": content["error_code"], "request_id": request_id}
    return json.dumps({"error": content["message"], **more}).encode()
