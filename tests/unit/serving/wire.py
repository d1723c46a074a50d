"""HTTP byte by byte, for what no client would send."""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.unit.serving.in_process import App


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> dict[str, Any]:
        """Give the error, checked for what every error has: JSON, the request's id in it and on it, and no trace."""
        document: dict[str, Any] = json.loads(self.body)
        assert self.headers["content-type"] == "application/json", self
        assert document["request_id"] == self.headers["x-request-id"], self
        assert document["error_code"], self
        assert document.get("message") or document.get("error"), self
        assert b"Traceback" not in self.body, self
        assert b'File \\"' not in self.body, self
        if self.status == 503:
            assert int(self.headers["retry-after"]) > 0
        return document


def connect(app: App, timeout_s: float = 20) -> socket.socket:
    """Open a connection."""
    url = app.client.base_url
    return socket.create_connection((url.host, url.port), timeout=timeout_s)


def receive(connection: socket.socket) -> Reply:
    """Read one answer."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


def exchange(app: App, *pieces: bytes) -> Reply:
    """Send bytes over a connection of their own and read the answer."""
    with connect(app) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return receive(connection)


def post(path: str, body: bytes = b"", *headers: str, length: bool = True) -> bytes:
    """Write a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
