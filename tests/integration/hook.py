"""A real HTTP hook on a port of its own, which answers what the test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSED = b'{"verdict": "passed", "reason": "the hook is content"}'


@dataclass
class Hook:
    """What it was asked, and what it answers.

    Attributes:
        answers: Status and body of the next answers, in turn; the last one stays.
        meanwhile: Called before it answers.
        asked: The questions so far.
        headers: Their headers.
    """

    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [(200, PASSED)])
    meanwhile: Callable[[], None] = lambda: None
    asked: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def hook() -> Iterator[Hook]:
    """Run one."""
    kept = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            kept.meanwhile()
            status, body = kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", kept.url)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}/judge"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
