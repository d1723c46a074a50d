"""The application's answers outside of MLflow's protocol: bounds, errors, ids, feedback, metrics."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.unit.serving.in_process import App, app, loaded, sums

ROWS = {"instances": [[1, 2], [3, 4]]}


def fail(data: Any) -> Any:
    """Fail."""
    raise RuntimeError("broken inside")


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[App]:
    """An application with two models."""
    with app(tmp_path, loaded("sum", 1), loaded("bad", 1, fail), default_model="sum", max_body_bytes=10_000) as running:
        yield running


def test_answers_carry_their_origin(scoring: App) -> None:
    """An answer names request, model and version."""
    answer = scoring.client.post("/invocations", json=ROWS, headers={"X-Request-Id": "abc-1"})
    assert answer.json() == {"predictions": [3, 7]}
    assert {k: answer.headers[k] for k in ("x-request-id", "x-model-name", "x-model-version")} == {
        "x-request-id": "abc-1",
        "x-model-name": "sum",
        "x-model-version": "1",
    }
    fresh = scoring.client.post("/invocations", json=ROWS, headers={"X-Request-Id": "not sane"})
    assert len(fresh.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/models/nobody/invocations", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/models/sum/versions/2/invocations", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/models/sum/versions/x/invocations", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/models/sum/versions/0/invocations", 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/models/nobody", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/models/nobody/feedback", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/nowhere", 404, "ENDPOINT_NOT_FOUND"),
        ("GET", "/invocations", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/models/bad/invocations", 400, "BAD_REQUEST"),
        ("POST", "/models/a%2Fb/invocations", 404, "ENDPOINT_NOT_FOUND"),
    ],
)
def test_every_error_has_one_shape(scoring: App, method: str, path: str, status: int, code: str) -> None:
    """An error is JSON with a code, a message and the request id, and no trace."""
    body = {"feedback": [{"request_id": "r", "value": 1}]} if path.endswith("feedback") else ROWS
    answer = scoring.client.request(method, path, json=body, headers={"X-Request-Id": "e-1"})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "e-1"
    assert "Traceback" not in answer.text
    assert answer.headers["content-type"] == "application/json"


def test_no_default_model(tmp_path: Path) -> None:
    """Without a default model the answer says which setting is missing."""
    with app(tmp_path, loaded("sum", 1)) as running:
        answer = running.client.post("/invocations", json=ROWS)
    assert (answer.status_code, "MLFLOW_EXT_DEFAULT_MODEL" in answer.json()["message"]) == (404, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body_is_413(scoring: App, chunked: bool) -> None:
    """A body over the bound is refused, whether its length is announced or not."""
    body = b"x" * 20_000
    content: Any = (body[i : i + 1000] for i in range(0, len(body), 1000)) if chunked else body
    answer = scoring.client.post("/invocations", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert "10000 bytes" in answer.json()["message"]
    assert scoring.client.post("/invocations", json=ROWS).status_code == 200


def test_a_model_that_takes_too_long_is_504(tmp_path: Path) -> None:
    """An answer that does not come in time is 504, and its prediction is not logged."""
    release = threading.Event()

    def slow(data: Any) -> Any:
        release.wait(20)
        return sums(data)

    with app(tmp_path, loaded("slow", 1, slow), request_timeout_s=0.2) as running:
        answer = running.client.post("/models/slow/invocations", json=ROWS)
        assert (answer.status_code, answer.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")
        release.set()
    assert running.records() == []


def test_a_slow_model_does_not_hold_up_others(tmp_path: Path) -> None:
    """While a model computes, health and other models answer."""
    release = threading.Event()

    def slow(data: Any) -> Any:
        release.wait(20)
        return sums(data)

    with app(tmp_path, loaded("slow", 1, slow), loaded("sum", 1)) as running:
        answers: list[int] = []
        waiting = threading.Thread(
            target=lambda: answers.append(running.client.post("/models/slow/invocations", json=ROWS).status_code)
        )
        waiting.start()
        assert running.client.get("/ping").status_code == 200
        assert running.client.post("/models/sum/invocations", json=ROWS).status_code == 200
        assert answers == []
        release.set()
        waiting.join()
        assert answers == [200]


def test_requests_in_flight_finish_on_their_version(tmp_path: Path) -> None:
    """A request that began before a swap is answered by the version it began with, though that one is dropped."""
    began, release = threading.Event(), threading.Event()

    def slow(data: Any) -> Any:
        began.set()
        release.wait(20)
        return sums(data)

    with app(tmp_path, loaded("m", 1, slow)) as running:
        answers: list[str] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                running.client.post("/models/m/invocations", json=ROWS).headers["x-model-version"]
            )
        )
        waiting.start()
        assert began.wait(20)
        running.pool.add(loaded("m", 2))
        running.pool.swap(running.pool.version("m", 2), 2)
        running.pool.keep_only("m", {2})
        assert running.client.post("/models/m/invocations", json=ROWS).headers["x-model-version"] == "2"
        release.set()
        waiting.join()
    assert answers == ["1"]


def test_scoring_goes_on_without_a_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the prediction log cannot be written, requests are answered, the loss is counted and logged once."""
    (tmp_path / "spool").write_text("in the way")
    with app(tmp_path, loaded("sum", 1)) as running:
        for _ in range(3):
            assert running.client.post("/models/sum/invocations", json=ROWS).status_code == 200
        metrics = running.client.get("/metrics").text
    assert 'mlflow_ext_spool_lost_records_total{model="sum",reason="disk"} 3.0' in metrics
    complaints = [record.getMessage() for record in caplog.records if "predictions_lost" in record.getMessage()]
    assert len(complaints) == 1
    assert "cannot be written" in complaints[0]


def test_only_predictions_are_logged(scoring: App) -> None:
    """The prediction log holds answered predictions and no errors."""
    scoring.client.post("/invocations", json=ROWS, headers={"X-Request-Id": "good"})
    scoring.client.post("/models/bad/invocations", json=ROWS, headers={"X-Request-Id": "bad"})
    scoring.client.post("/invocations", content=b"{", headers={"Content-Type": "application/json"})
    [record] = scoring.records()
    assert (record.request_id, record.model, record.version) == ("good", "sum", 1)
    assert json.loads(record.response) == {"predictions": [3, 7]}
    assert record.latency_us > 0


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"{}", b'{"feedback": []}', b'{"feedback": [{}]}', b'{"feedback": [{"request_id": "r"}]}'),
        b'{"feedback": [{"request_id": "not sane", "value": 1}]}',
        b'{"feedback": [{"request_id": "r", "value": 1, "row": -1}]}',
        b'{"feedback": [{"request_id": "r", "value": 1, "row": "0"}]}',
        b'{"feedback": [{"request_id": "r", "value": 1, "more": 1}]}',
        b'{"feedback": [{"request_id": "r", "value": 1}], "more": 1}',
    ],
)
def test_feedback_that_cannot_be_read_is_400(scoring: App, body: bytes) -> None:
    """Feedback of another shape is refused with its mistakes and without its values."""
    answer = scoring.client.post("/models/sum/feedback", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "not sane" not in answer.text


def test_feedback_without_a_database_is_503(scoring: App) -> None:
    """When PostgreSQL is away feedback is refused for now, and the client is told when to come back."""
    body = {"feedback": [{"request_id": "r", "value": 1}]}
    answer = scoring.client.post("/models/sum/feedback", json=body)
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)


def test_health(scoring: App) -> None:
    """Alive, ready, and no longer ready once it is stopping."""
    assert scoring.client.get("/livez").json() == {"status": "alive"}
    assert scoring.client.get("/readyz").status_code == 200
    scoring.parts.stopping.set()
    stopping = scoring.client.get("/readyz")
    assert (stopping.status_code, stopping.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert scoring.client.get("/livez").status_code == 200


def test_metrics(scoring: App) -> None:
    """Requests, errors, latency and predictions are counted by model and version; foreign names are no labels."""
    for path in ("/invocations", "/models/bad/invocations", "/models/nobody%22x/invocations"):
        scoring.client.post(path, json=ROWS)
    text = scoring.client.get("/metrics").text
    assert 'mlflow_ext_requests_total{code="200",model="sum",version="1"} 1.0' in text
    assert 'mlflow_ext_requests_total{code="404",model="",version=""} 1.0' in text
    assert 'mlflow_ext_errors_total{error="BAD_REQUEST",model="bad"} 1.0' in text
    assert 'mlflow_ext_request_seconds_count{model="sum",version="1"} 1.0' in text
    assert 'mlflow_ext_in_progress_requests{model="sum"} 0.0' in text
    assert "nobody" not in text


def test_the_api_is_described(scoring: App) -> None:
    """Every route stands in /openapi.json, and /docs shows it."""
    paths = set(scoring.client.get("/openapi.json").json()["paths"])
    v2 = {path for path in paths if path.startswith("/v2")}
    assert {"/v2", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/ready"} <= v2
    assert {
        *("/invocations", "/models/{name}/invocations", "/models/{name}/versions/{version}/invocations", "/models"),
        *("/models/{name}/openapi.json", "/models/{name}/versions/{version}/openapi.json"),
        *("/models/{name}/rollback", "/promotions", "/promotions/{promotion}"),
        *(f"/promotions/{{promotion}}/{verb}" for verb in ("approve", "reject", "abort")),
        *("/models/{name}", "/models/{name}/feedback", "/ping", "/health", "/version", "/livez", "/readyz", "/metrics"),
    } == paths - v2
    assert scoring.client.get("/docs").status_code == 200


@pytest.mark.parametrize("name", ["née", "a b", "100%", "日本", "x.y", "q?#&", "line\nbreak\r\nX-Evil: 1"])
def test_names_in_headers_can_be_read_back(tmp_path: Path, name: str) -> None:
    """A name that a header cannot hold is percent-encoded in it."""
    from urllib.parse import quote

    with app(tmp_path, loaded(name, 1)) as running:
        answer = running.client.post(f"/models/{quote(name, safe='')}/invocations", json=ROWS)
    assert unquote(answer.headers["x-model-name"]) == name


def test_an_unexpected_failure_is_500_without_details(scoring: App, caplog: pytest.LogCaptureFixture) -> None:
    """A failure that nobody foresaw is logged with the request id, and the client learns the id only."""
    scoring.parts.pool._champions = None  # type: ignore[assignment]  # a part that is broken beyond what code expects
    answer = scoring.client.post("/invocations", json=ROWS, headers={"X-Request-Id": "oops"})
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "NoneType" not in answer.text
    assert any("request_id=oops" in record.getMessage() for record in caplog.records)
