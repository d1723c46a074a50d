"""One HTTP connection, with an end to a client's time: headers and body have to arrive within a deadline and a size.

uvicorn bounds only the time between requests. Whatever is refused here, the application has not seen yet; what it
refuses itself is in `web.py`, `admission.py` and `bounds.py`.
"""

import fcntl
import logging
import re
import termios
from array import array
from asyncio import BaseTransport, TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlflow_ext.config import Settings
from serving.codecs.answer import error
from serving.metrics import Metrics
from serving.refusals import CODES
from serving.request_id import request_id
from serving.web import REQUEST_ID, error_writer

logger = logging.getLogger(__name__)

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
LINGER_S = 1.0
"""How long a refused client may go on sending: closed at once, its network would throw our answer away."""


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Bounds of a connection.

    Attributes:
        header_timeout_s: Seconds from the connection, or from a request's first byte, to the end of its headers.
        body_timeout_s: Seconds from there to the end of its body; and those in which a client may take nothing of an
            answer.
        max_header_bytes: Largest request line and headers together, in bytes.
    """

    header_timeout_s: float
    body_timeout_s: float
    max_header_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionBounds":
        """Take the bounds of the settings."""
        return cls(settings.header_timeout_s, settings.body_timeout_s, settings.max_header_bytes)


class _Stage(Enum):
    """What the client is to send next."""

    BEGIN = "the first byte"
    HEADERS = "headers"
    BODY = "body"
    DONE = "nothing until it is answered"


class _OversizedError(Exception):
    """The headers are too large; ends the parser's work."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, bounded. See `bounded`, which makes the class that uvicorn takes."""

    bounds: ClassVar[ConnectionBounds]
    count: ClassVar[Callable[[str], None]]

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast("Transport", transport))
        self._stage = _Stage.BEGIN
        self._refused = False
        self._gone = False
        self._oversized = False
        self._header_bytes = 0
        self._unread: int | None = None
        self._timer: TimerHandle | None = None
        self._timed: _Stage | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._stop_timer()
        self._gone = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._refused:
            return
        if self._stage is not _Stage.BODY:
            self._header_bytes += len(data)
            if b"pgrade" in data:
                data = _without_upgrade(data)
        super().data_received(data)
        if self._stage is _Stage.HEADERS and self._header_bytes > self.bounds.max_header_bytes:
            self._refuse_headers()
        # a request that came as one piece never has a timer
        if self._timer is not None or self._stage is not _Stage.DONE:
            self._watch()

    # parser callbacks ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._stage = _Stage.HEADERS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are here, so that the application begins with it."""
        # only a piece of that size can hold so many
        if self._header_bytes > self.bounds.max_header_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.bounds.max_header_bytes:
                self._oversized = True
                raise _OversizedError
        self._stage = _Stage.BODY
        self.begin()

    def begin(self) -> None:
        """Give the request to the application."""
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here."""
        super().on_message_complete()
        self.complete()

    def complete(self) -> None:
        """Expect nothing more of this request."""
        self._stage = _Stage.DONE
        self._header_bytes = 0

    def on_response_complete(self) -> None:
        """An answer is written, though not yet taken by the client."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > 0 and self._unread is None:
            self._watch_unread()

    # refusing --------------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take for HTTP."""
        if self._oversized:
            self._refuse_headers()
        else:
            self._refuse(400, "invalid_http", "This is not a valid HTTP request.")

    def _refuse_headers(self) -> None:
        limit = self.bounds.max_header_bytes
        self._refuse(431, "header_size", f"The headers are larger than {limit} bytes (setting max_header_bytes).")

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self._refused:
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._stage is _Stage.BEGIN:
            self.transport.close()
        # it is we who do not read, or an answer is still due before this request's
        elif self.flow.read_paused or (self._stage is _Stage.HEADERS and answering):
            self._watch()
        elif self._stage is _Stage.HEADERS:
            timeout = self.bounds.header_timeout_s
            self._refuse(408, "header_timeout", f"The headers did not arrive in {timeout:g} s.")
        elif not answering or self.cycle.response_started:
            # answered already, as a body too large is; there is nothing more to say
            self.transport.close()
        else:
            timeout = self.bounds.body_timeout_s
            self._refuse(408, "body_timeout", f"The body did not arrive in {timeout:g} s (setting body_timeout_s).")

    def _refuse(self, status: int, reason: str, message: str) -> None:
        if self._refused:
            return
        self._refused = True
        type(self).count(reason)
        self._stop_timer()
        known = self._stage is _Stage.BODY
        path = self.scope["path"] if known else "/"
        given = dict(self.headers).get(REQUEST_ID.lower().encode()) if known else None
        id_ = request_id(given.decode("latin-1") if given is not None else None)
        content = error(status, CODES[status], message).error or {}
        body = error_writer(path)(content, id_)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{REQUEST_ID.lower()}: {id_}\r\nconnection: close\r\n\r\n"
        )
        logger.info("event=connection_refused reason=%s request_id=%s", reason, id_)
        if self.cycle is not None and not self.cycle.response_complete:
            # for the application the client is gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _watch_unread(self) -> None:
        """End the connection of a client that takes nothing of its answer; until then the answer holds memory."""
        if self._gone or self.transport.get_write_buffer_size() == 0:
            self._unread = None
            return
        left = _not_taken(self.transport)
        if left == self._unread:
            type(self).count("unread_answer")
            self.transport.abort()
        else:
            self._unread = left
            self.loop.call_later(self.bounds.body_timeout_s, self._watch_unread)

    def _watch(self) -> None:
        """Set the deadline of the present stage; that of a stage does not move while it lasts."""
        if self._timer is not None and self._timed is self._stage:
            return
        self._stop_timer()
        if self._stage is _Stage.DONE or self._refused or self.transport.is_closing():
            return
        seconds = self.bounds.body_timeout_s if self._stage is _Stage.BODY else self.bounds.header_timeout_s
        self._timed = self._stage
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _not_taken(transport: Transport) -> int:
    """Count the bytes that the other side did not acknowledge: those that we keep, and those in the kernel's buffer.

    That buffer holds megabytes and takes more only when a third of it is free, so that our own part of a slow
    reader's answer may stay as it is for a long time.
    """
    in_kernel = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
    return transport.get_write_buffer_size() + in_kernel[0]


def _without_upgrade(data: bytes) -> bytes:
    """Hide the header `Upgrade` from the parser, which would take a request that has it for one without a body.

    Java's own client asks for HTTP/2 that way on its first request; a server may ignore it.
    """
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    return _UPGRADE.sub(b"\r\nX-Upgrade:", head) + data[len(head) :]


def bounded(settings: Settings, metrics: Metrics) -> type[BoundedConnection]:
    """Make the class of connections that uvicorn takes (`http=`)."""

    def count(reason: str) -> None:
        metrics.turned_away.labels(reason).inc()

    values: dict[str, Any] = {"bounds": ConnectionBounds.of(settings), "count": staticmethod(count)}
    return type("BoundedHttpConnection", (BoundedConnection,), values)
