"""OpenTelemetry traces of scoring requests, optional: a span each, below the caller's own where it names one.

Only requests that are traced leave the short way (`short_connection.py`), so the others cost what they cost without.
What is known of a request is noted on its way: `trace_notes.py`.
"""

import logging
import os
import random
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ext.config import Settings
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.version import VERSION
from serving.hot_path import HotPath
from serving.metrics import Metrics
from serving.short_connection import ShortConnection, short
from serving.trace_notes import NOTES, Notes, TraceIds
from serving.web import SCORING

logger = logging.getLogger(__name__)

_TRACED = "mlflow_ext.traced"
"""Key of an ASGI scope whose request is traced."""
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")
"""W3C Trace Context: version, trace, parent, flags; later versions may have more."""
_SAMPLED = 1
_CARRIED = (b"traceparent", b"tracestate")
EXPORT_TIMEOUT_S = 5.0


class TracedConnection(ShortConnection):
    """A connection that sends traced requests the way of ASGI."""

    share: ClassVar[float]

    def _admitted(self) -> Any:
        if is_wanted(self.headers, self.share):
            cast("dict[str, Any]", self.scope)[_TRACED] = True
            return None
        return super()._admitted()


def is_wanted(headers: Sequence[tuple[bytes, bytes]], share: float) -> bool:
    """Tell whether a request is traced: the caller decides, or where it says nothing, chance."""
    given = [value for name, value in headers if name == _CARRIED[0]]
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is not None:
        return bool(int(found[1], 16) & _SAMPLED)
    # a sample, no secret
    return random.random() < share  # noqa: S311


class Tracing:
    """ASGI application around another: a span around each request that is traced."""

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        """Take the application, and OpenTelemetry's tracer."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if not scope.get(_TRACED) or scope["method"] != "POST" or not scope["path"].endswith(SCORING):
            await self._app(scope, receive, send)
            return
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        # another context than the thread's own: MLflow may trace as well
        parent = self._propagator.extract(carrier, Context())
        span = self._tracer.start_span("score", parent, SpanKind.SERVER, {"http.request.method": "POST"})
        given = span.get_span_context()
        notes = Notes(f"{given.trace_id:032x}")
        answered = f"00-{notes.trace_id}-{given.span_id:016x}-{given.trace_flags:02x}".encode()
        status = 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                _describe(span, headers, status)
                message = {**message, "headers": [*headers, (b"traceparent", answered)]}
            await send(message)

        token = NOTES.set(notes)
        try:
            await self._app(scope, receive, send_traced)
        finally:
            NOTES.reset(token)
            for key, value in (("mlflow_ext.rows", notes.rows), ("mlflow_ext.engine", notes.engine)):
                if value is not None:
                    span.set_attribute(key, value)
            if status == 0 or status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            span.end()


def _describe(span: Any, headers: Sequence[tuple[bytes, bytes]], status: int) -> None:
    """Say of a span what the answer's headers say; they name only models that there are."""
    said = {name.lower(): value.decode("latin-1") for name, value in headers}
    span.set_attribute("http.response.status_code", status)
    if b"x-request-id" in said:
        span.set_attribute("mlflow_ext.request_id", said[b"x-request-id"])
    if b"x-model-name" in said:
        model = unquote(said[b"x-model-name"])
        span.update_name(f"score {model}")
        span.set_attribute("mlflow_ext.model", model)
        span.set_attribute("mlflow_ext.version", int(said[b"x-model-version"]))


@contextmanager
def traced(settings: Settings, metrics: Metrics, hot: HotPath) -> Iterator[tuple[ASGIApp, type[ShortConnection]]]:
    """Give the application and the class of its connections, with traces where settings want them.

    Raises:
        InvalidSettingsError: Settings want them, and the extra `otel` is not installed.
    """
    connection = short(settings, metrics, hot)
    if settings.traces_url is None:
        yield hot, connection
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise InvalidSettingsError("traces_url needs the extra otel: pip install 'mlflow-ext[otel]'") from exc
    instance = f"{socket.gethostname()}-{os.getpid()}"
    resource = Resource.create(
        {"service.name": "mlflow-ext", "service.version": VERSION, "service.instance.id": instance}
    )
    # ours alone: MLflow's own traces go where MLflow sends them. What is traced is decided before a span begins.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{settings.traces_url}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1_000))
    root, ids = logging.getLogger(), TraceIds()
    handlers = list(root.handlers)
    for handler in handlers:
        handler.addFilter(ids)
    logger.info("event=traces_on url=%r share=%g", settings.traces_url, settings.traces_share)
    try:
        kind = type("TracedHttpConnection", (TracedConnection, connection), {"share": settings.traces_share})
        yield Tracing(hot, provider.get_tracer("mlflow-ext", VERSION)), kind
    finally:
        for handler in handlers:
            handler.removeFilter(ids)
        provider.shutdown()
