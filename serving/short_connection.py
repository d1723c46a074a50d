"""The shortest way of usual requests: a connection that gives small ones to the plan without ASGI in between.

A request goes this way when its headers alone say that a plan on the event loop may know it (`hot_path.py` judges);
whatever then turns out otherwise goes on to the application as it came. Slow clients and sizes: `connection.py`.
"""

import asyncio
import logging
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mlflow_ext.config import Settings
from serving.batcher import Waiting
from serving.connection import BoundedConnection, bounded
from serving.hot_path import Admitted, HotPath
from serving.metrics import Metrics

logger = logging.getLogger(__name__)


class _Gone:
    """Takes the place of a cycle's event: nobody waits for it."""

    def set(self) -> None:
        """Wake nobody."""


class _Asked:
    """A request on the short way; to uvicorn it looks like its own cycle of a request that is being answered."""

    __slots__ = ("admitted", "body", "disconnected", "keep_alive", "response_complete", "response_started", "scope")
    message_event = _Gone()

    def __init__(self, admitted: Admitted, scope: Any) -> None:
        self.admitted = admitted
        self.scope = scope
        self.body = b""
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False


class ShortConnection(BoundedConnection):
    """A bounded connection with the short way; `short` makes the class that uvicorn takes."""

    hot: ClassVar[HotPath]
    cycle: Any
    _asked: _Asked | None = None

    def begin(self) -> None:
        """Take the short way when the headers allow it."""
        admitted = self._admitted()
        if admitted is None:
            super().begin()
            return
        scope = self.scope
        scope["method"], scope["path"], scope["raw_path"] = "POST", self.url.decode("ascii"), self.url
        scope["query_string"] = b""
        self._asked = self.cycle = _Asked(admitted, scope)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        asked = self._asked
        if asked is None or self.cycle is not asked:
            super().on_body(body)
        else:
            asked.body = asked.body + body if asked.body else body

    def on_message_complete(self) -> None:
        """Give the request to its plan."""
        asked = self._asked
        # a later request may arrive while this one is being answered
        if asked is not None and self.cycle is asked:
            self.complete()
            self._submit(asked)
        else:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a request whose body will not come."""
        asked = self._asked
        super().connection_lost(exc)
        if asked is not None:
            asked.disconnected = True
            if not asked.admitted.submitted:
                self._asked = None
                self.hot.leave()

    def _admitted(self) -> Admitted | None:
        parser, before = self.parser, self.cycle
        # an earlier request that is still being answered comes first
        if before is not None and not before.response_complete:
            return None
        if parser.get_method() != b"POST" or self.expect_100_continue:
            return None
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        try:
            return self.hot.admit(self.url, self.headers)
        # the application can still say it in its own way
        except Exception:
            logger.exception("event=short_way_failed url=%r", self.url)
            return None

    def _submit(self, asked: _Asked) -> None:
        try:
            waits = self.hot.submit(asked.admitted, asked.body, lambda one, answer: self._answer(asked, one, answer))
        # nothing has been sent yet, so the application can still say it in its own way
        except Exception:
            logger.exception("event=short_way_failed path=%r", asked.scope["path"])
            waits = False
        if not waits:
            self._to_application(asked)

    def _answer(self, asked: _Asked, one: Waiting, body: bytes | None) -> None:
        if body is None:
            self._to_application(asked)
            return
        self._asked = None
        self.hot.leave()
        asked.response_complete = True
        if asked.disconnected or self.transport.is_closing():
            return
        keep = asked.keep_alive
        defaults = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        head = b"HTTP/1.1 200 OK\r\n%b%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (
            b"".join(defaults),
            asked.admitted.headers,
            len(body),
            one.request_id.encode(),
            b"" if keep else b"connection: close\r\n",
        )
        self.transport.write(head + body)
        if not keep:
            self.transport.close()
        self.on_response_complete()

    def _to_application(self, asked: _Asked) -> None:
        """Let the application answer, which finds the request as if it had just come."""
        self._asked = None
        self.hot.leave()
        if asked.disconnected:
            return
        cycle = RequestResponseCycle(
            scope=asked.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=asked.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body = bytearray(asked.body)
        cycle.more_body = False
        cycle.message_event.set()
        if self.cycle is asked:
            self.cycle = cycle
        self._start_asgi_task(cycle, cast("Any", self.hot.app))


def short(settings: Settings, metrics: Metrics, hot: HotPath) -> type[ShortConnection]:
    """Make the class of connections that uvicorn takes (`http=`)."""
    return type("ShortHttpConnection", (ShortConnection, bounded(settings, metrics)), {"hot": hot})
