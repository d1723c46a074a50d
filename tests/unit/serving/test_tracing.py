"""Traces of scoring requests, as a collector gets them over the wire; and requests that are not traced."""

import gzip
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from serving.app import create_app
from serving.hot_path import HotPath
from serving.short_connection import short
from serving.tracing import is_wanted, traced
from tests.conftest import wait_until
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.test_hot_path import BODY, plan

PATH = "/models/sum/invocations"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "other=1"}
UNTRACED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Collector:
    """A collector that keeps what it gets."""

    url: str = ""
    status: int = 200
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[Span]:
        """Give all spans."""
        groups = [group for one in self.requests for kept in one.resource_spans for group in kept.scope_spans]
        return [span for group in groups for span in group.spans]

    def wait(self, count: int) -> list[Span]:
        """Wait until there are so many spans."""
        wait_until(lambda: len(self.spans()) >= count, 20)
        return self.spans()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector: HTTP and protobuf, as the protocol has it."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            if collector.status == 200:
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    with collecting() as found:
        yield found


@contextmanager
def scoring(directory: Path, **settings: Any) -> Iterator[App]:
    """An application with a planned model, and one that only MLflow's code answers for."""
    with app(directory, replace(loaded("sum", 3), plan=plan()), loaded("slow", 1), **settings) as running:
        yield running


def said(span: Span) -> dict[str, Any]:
    """Give a span's attributes."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


def test_spans(collector: Collector, tmp_path: Path) -> None:
    """Each way of a request gives a span below the caller's, with model, version, rows, engine and status."""
    with scoring(tmp_path, traces_url=collector.url, traces_share=0) as running:
        client = running.client
        by_plan = client.post(PATH, content=BODY, headers={**JSON, **TRACED, "X-Request-Id": "one"})
        other = client.post(PATH, json={"inputs": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}, headers=TRACED)
        tensors = [{"name": "x", "datatype": "FP64", "shape": [2, 2], "data": [1, 2, 3, 4]}]
        v2 = client.post("/v2/models/slow/infer", json={"inputs": tensors}, headers=TRACED)
        unknown = client.post("/models/nobody/invocations", content=BODY, headers={**JSON, **TRACED})
        assert [one.status_code for one in (by_plan, other, v2, unknown)] == [200, 200, 200, 404]
        spans = collector.wait(4)
    for span, answer in zip(spans, (by_plan, other, v2, unknown), strict=True):
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == PARENT
        assert span.trace_state == "other=1"
        assert span.kind == Span.SPAN_KIND_SERVER
        assert span.end_time_unix_nano > span.start_time_unix_nano
        assert answer.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
        assert said(span)["mlflow_ext.request_id"] == answer.headers["x-request-id"]
        assert said(span)["http.response.status_code"] == answer.status_code
    told = [said(span) for span in spans]
    keys = ("mlflow_ext.model", "mlflow_ext.version", "mlflow_ext.rows", "mlflow_ext.engine")
    assert [tuple(one.get(key) for key in keys) for one in told] == [
        ("sum", 3, 2, "kernel"),
        ("sum", 3, 3, "mlflow"),
        ("slow", 1, 2, "mlflow"),
        (None, None, None, None),
    ]
    assert [span.name for span in spans] == ["score sum", "score sum", "score slow", "score"]
    resource = {one.key: one.value.string_value for one in collector.requests[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "mlflow-ext"


def test_untraced_requests_take_the_short_way(collector: Collector, tmp_path: Path) -> None:
    """Where the caller says no, or chance does, there is no span, no header, and nothing between client and plan."""
    with scoring(tmp_path, traces_url=collector.url, traces_share=0) as running:
        for headers in ({}, UNTRACED, {"traceparent": "nonsense"}):
            answer = running.client.post(PATH, content=BODY, headers={**JSON, **headers})
            assert answer.json() == {"predictions": [2.0, 4.0]}
            assert "traceparent" not in answer.headers
        assert running.client.get("/ping", headers=TRACED).status_code == 200
    assert collector.spans() == []


def test_a_share_is_traced_without_a_caller(collector: Collector, tmp_path: Path) -> None:
    """Requests without a parent begin a trace of their own."""
    with scoring(tmp_path, traces_url=collector.url) as running:
        answers = [running.client.post(PATH, content=BODY, headers=JSON) for _ in range(3)]
        spans = collector.wait(3)
    assert len({span.trace_id for span in spans}) == 3
    assert {span.parent_span_id for span in spans} == {b""}
    assert [one.headers["traceparent"].split("-")[1] for one in answers] == [span.trace_id.hex() for span in spans]


def test_a_server_error_is_an_error(collector: Collector, tmp_path: Path) -> None:
    """A span says so when the answer is the service's fault."""
    with scoring(tmp_path, traces_url=collector.url) as running:
        running.parts.pool.know(["sum", "slow", "none"])
        assert running.client.post("/models/none/invocations", content=BODY, headers=JSON).status_code == 503
        assert running.client.post("/models/nobody/invocations", content=BODY, headers=JSON).status_code == 404
        spans = collector.wait(2)
    assert [span.status.code for span in spans] == [Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET]


def test_log_lines_name_the_trace(collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines that are written while a traced request is handled, on whatever thread, carry its id; others do not."""

    def odd(_: Any) -> Any:
        logging.getLogger("model").warning("event=odd value=%d", 7)
        return [1.0]

    with (
        caplog.at_level("WARNING"),
        app(tmp_path, loaded("odd", 1, odd), traces_url=collector.url, traces_share=0) as running,
    ):
        for headers in (TRACED, {}):
            body = {"inputs": [[1.0]]}
            assert running.client.post("/models/odd/invocations", json=body, headers=headers).status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "model"]
    assert lines == [f"event=odd value=7 trace_id={TRACE}", "event=odd value=7"]


def test_a_collector_that_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered as ever, and the end does not wait for it."""
    with (
        caplog.at_level("CRITICAL"),
        scoring(tmp_path, traces_url="http://127.0.0.1:1") as running,
    ):
        for _ in range(5):
            assert running.client.post(PATH, content=BODY, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"cc-{TRACE}-{PARENT}-01-more", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        ("", None),
    ],
)
def test_who_decides(value: str, wanted: bool | None) -> None:
    """The caller, by a valid header; a broken one is as none, and chance decides."""
    for share in (0.0, 1.0):
        expected = bool(share) if wanted is None else wanted
        assert is_wanted([(b"traceparent", value.encode())], share) is expected
    twice = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())] * 2
    assert not is_wanted(twice, 0)


def test_off_there_is_nothing_in_between(tmp_path: Path) -> None:
    """Without `traces_url` the server is put together of the same parts as if there were no traces at all."""
    with app(tmp_path, loaded("sum", 1)) as running:
        hot = HotPath(create_app(running.parts), running.parts)
        settings, metrics = running.parts.settings, running.parts.metrics
        with traced(settings, metrics, hot) as (application, connection):
            assert application is hot
            parts = [[one.__qualname__ for one in kind.__mro__] for kind in (connection, short(settings, metrics, hot))]
            assert parts[0] == parts[1]
