"""The short way around the web framework: who may take it, and what it leaves to the application."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from serving.batcher import INLINE_BYTES
from serving.plan import Plan
from tests.conftest import wait_until
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.test_access import CALLERS

BODY = b'{"rows": [[1.0], [2.0]]}'
JSON = {"Content-Type": "application/json"}
ASKED: list[int] = []
"""How many rows each call of the plan had."""


def rows_of(body: bytes) -> Any:
    """Read a body of this test's own form; anything else is not what the plan knows."""
    document = json.loads(body)
    return document.get("rows") if isinstance(document, dict) else None


class Reading(Plan):
    """A plan whose bodies are easy to write."""

    def rows(self, body: bytes) -> Any:
        """Read rows."""
        return rows_of(body)


def doubled(rows: Any) -> Any:
    """Double each row's value; the value 13 fails, 99 takes long."""
    ASKED.append(len(rows))
    values = np.asarray(rows, dtype=np.float64)[:, 0]
    if 13.0 in values:
        raise RuntimeError("13")
    if 99.0 in values:
        time.sleep(0.6)
    return values * 2


def plan(engine: str = "kernel") -> Plan:
    """Make a plan."""
    return Reading(("a",), doubled, True, engine, engine == "kernel", True, json.loads, tuple)


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An application that asks for tokens, with a planned model as default."""
    version = replace(loaded("sum", 1), plan=plan())
    with app(tmp_path_factory.mktemp("hot"), version, authority=CALLERS.authority, default_model="sum") as running:
        yield running


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An application for everybody, with a planned model on each engine, small bodies and short deadlines."""
    versions = replace(loaded("kernel", 1), plan=plan()), replace(loaded("python", 1), plan=plan("python"))
    directory = tmp_path_factory.mktemp("public")
    with app(directory, *versions, max_body_bytes=200_000, request_timeout_s=0.3) as running:
        yield running


def ask(running: App, path: str, headers: Any, body: bytes = BODY) -> httpx.Response:
    """Ask, and give the answer."""
    return running.client.post(path, content=body, headers=headers)


@pytest.mark.parametrize("path", ["/invocations", "/models/sum/invocations"])
@pytest.mark.parametrize("who", sorted(CALLERS.strangers))
def test_strangers_reach_no_plan(scoring: App, path: str, who: str) -> None:
    """Without a good token the short way is closed, and the refusal is the application's."""
    ASKED.clear()
    headers = [*CALLERS.strangers[who], (b"Content-Type", b"application/json")]
    assert ask(scoring, path, headers).status_code == 401
    assert ASKED == []


@pytest.mark.parametrize("path", ["/invocations", "/models/sum/invocations"])
def test_only_the_right_to_score_this_model_opens_it(scoring: App, path: str) -> None:
    """For each right and model, the short way is open exactly where the application's own table says so."""
    for header, (right, models) in CALLERS.holders.items():
        ASKED.clear()
        headers = {"Authorization": header.decode(), **JSON}
        allowed = right in ("score", "admin") and models in (None, {"sum"})
        assert ask(scoring, path, headers).status_code == (200 if allowed else 403), (right, models)
        assert bool(ASKED) == allowed


@pytest.mark.parametrize("model", ["kernel", "python"])
def test_an_answer(public: App, model: str) -> None:
    """A plan's answer is complete: predictions, version, request id, and one record in the log."""
    before = len(public.records())
    answer = ask(public, f"/models/{model}/invocations", {**JSON, "X-Request-Id": "r-1"})
    assert answer.json() == {"predictions": [2.0, 4.0]}
    assert answer.headers["x-model-name"] == model
    assert (answer.headers["x-model-version"], answer.headers["x-request-id"]) == ("1", "r-1")
    [record] = public.records()[before:]
    assert (record.request, record.response, record.request_id) == (BODY, answer.content, "r-1")


@pytest.mark.parametrize("id_", ["", "ä", "x" * 129, "a b"])
def test_a_request_id_that_cannot_be_kept(public: App, id_: str) -> None:
    """An id that is none gets a fresh one."""
    headers = [(b"Content-Type", b"application/json"), (b"X-Request-Id", id_.encode())]
    answer = ask(public, "/models/kernel/invocations", headers)
    assert len(answer.headers["x-request-id"]) == 32


def test_a_body_in_pieces(public: App) -> None:
    """A body that comes in pieces, to the plan or through it to the application, arrives whole."""
    right, wrong = [BODY[:5], BODY[5:9], BODY[9:]], [b'{"inputs": ', b"[[1.0, 2.0]", b"]}"]
    answer = public.client.post("/models/kernel/invocations", content=iter(right), headers=JSON)
    assert answer.json() == {"predictions": [2.0, 4.0]}
    answer = public.client.post("/models/kernel/invocations", content=iter(wrong), headers=JSON)
    assert answer.json() == {"predictions": [3.0]}


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"inputs": [[1.0, 2.0]]}'])
def test_what_the_plan_does_not_know_is_answered_as_ever(public: App, body: bytes) -> None:
    """Bodies that the plan refuses, or fails to read, get the answer that an address without a short way gives."""
    answers = [
        ask(public, path, {**JSON, "X-Request-Id": "r-2"}, body)
        for path in ("/models/kernel/invocations", "/models/kernel/versions/1/invocations")
    ]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/csv"},
        {**JSON, "Content-Encoding": "identity"},
        [(b"Content-Type", b"application/json"), (b"Content-Type", b"text/csv")],
    ],
)
def test_unusual_headers_are_the_applications(public: App, headers: Any) -> None:
    """Another content type, an encoding, a header given twice: the plan is not asked."""
    ASKED.clear()
    ask(public, "/models/kernel/invocations", headers)
    assert ASKED == []


@pytest.mark.parametrize("model", ["kernel", "python"])
def test_a_plan_that_fails_costs_no_answer(public: App, model: str) -> None:
    """Where a plan raises, MLflow's code answers the same body."""
    answer = ask(public, f"/models/{model}/invocations", JSON, b'{"rows": [[13.0]]}')
    assert answer.status_code == 400
    assert "request_id" in answer.json()


def test_too_large_a_body(public: App) -> None:
    """A body beyond the bound is 413, announced or not."""
    body = b'{"rows": [' + b",".join([b"[1.0]"] * 50_000) + b"]}"
    assert ask(public, "/models/kernel/invocations", JSON, body).status_code == 413
    pieces = (body[begin : begin + 60_000] for begin in range(0, len(body), 60_000))
    answer = public.client.post("/models/kernel/invocations", content=pieces, headers=JSON)
    assert answer.status_code == 413


def test_a_large_body_is_computed_beside_the_event_loop(public: App) -> None:
    """Bodies beyond the bound of the event loop get the same answers, from a thread."""
    count = INLINE_BYTES // 5
    answer = ask(public, "/models/kernel/invocations", JSON, json.dumps({"rows": [[1.0]] * count}).encode())
    assert answer.json() == {"predictions": [2.0] * count}


def test_a_model_that_is_too_slow(public: App) -> None:
    """Beyond the deadline the answer is 504 with the request's id, and no prediction is logged."""
    before = len(public.records())
    answer = ask(public, "/models/python/invocations", {**JSON, "X-Request-Id": "late"}, b'{"rows": [[99.0]]}')
    assert answer.status_code == 504
    assert (answer.json()["request_id"], answer.headers["x-model-version"]) == ("late", "1")
    in_progress = public.parts.metrics.registry.get_sample_value
    wait_until(lambda: in_progress("mlflow_ext_in_progress_requests", {"model": "python"}) == 0, 10)
    assert public.records()[before:] == []
