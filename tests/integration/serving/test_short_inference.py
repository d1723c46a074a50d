"""The Open Inference Protocol's short way: the answers of the long one, in batches; what it does not know goes on."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from serving.codecs import mlflow_protocol
from serving.host.compiling import compile_plan
from serving.host.opened import OpenedVersion
from serving.openinference.inference import OpenInference
from serving.pool import LoadedVersion
from tests.integration.serving.fitted import Fitted, signature, table
from tests.integration.serving.twin_models import saved
from tests.unit.serving.host_here import HostHere, hosted
from tests.unit.serving.in_process import App, app

FRAME = table()[["a", "b", "n"]]
NUMBERS = FRAME[["a", "b"]]
VALUE = FRAME.a * 3 + FRAME.b / 50
WORDS = pd.Series(np.where(VALUE > 0, "yes", "no"))
MIXED = [
    {"name": name, "datatype": kind, "shape": [3], "data": FRAME[name].head(3).tolist()}
    for name, kind in (("a", "FP64"), ("b", "FP64"), ("n", "INT64"))
]
MATRIX = {"name": "rows", "datatype": "FP64", "shape": [2, 2], "data": NUMBERS.head(2).to_numpy().ravel().tolist()}
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "a matrix": ("words", {"inputs": [MATRIX], "id": "7"}),
    "columns": ("mixed", {"inputs": MIXED}),
    "a wanted output": ("words", {"inputs": [MATRIX], "outputs": [{"name": "output-0"}]}),
    "a model of its own": ("number", {"inputs": [MATRIX]}),
}
BAD: dict[str, tuple[str, Any]] = {
    "another output": ("words", {"inputs": [MATRIX], "outputs": [{"name": "other"}]}),
    "no inputs": ("words", {"inputs": []}),
    "another shape": ("words", {"inputs": [{**MATRIX, "shape": [4]}]}),
    "a type that does not fit": ("mixed", {"inputs": [{**MIXED[0], "datatype": "BYTES"}, *MIXED[1:]]}),
    "no JSON": ("words", None),
}


def version(name: str, fitted: Fitted, predictor: Any) -> LoadedVersion:
    """Load a model as the loader does."""
    schema = predictor.metadata.get_input_schema()
    bare = OpenedVersion(name, 1, None, predictor, schema)
    made = compile_plan(predictor, schema, partial(mlflow_protocol.accepted, bare))
    assert made is not None
    return hosted(replace(bare, plan=made.plan), made)


def opened(scoring: App, model: str) -> OpenedVersion:
    """Give what the model host holds."""
    host = scoring.pool.champion(model).host
    assert isinstance(host, HostHere)
    return host.opened


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Labels, labels of mixed columns, and numbers by a model that is no kernel."""
    directory = tmp_path_factory.mktemp("short")
    fits = {
        "words": Fitted(LogisticRegression().fit(NUMBERS, WORDS), NUMBERS, signature(NUMBERS), "kernel"),
        "mixed": Fitted(LogisticRegression(max_iter=500).fit(FRAME, VALUE > 0), FRAME, signature(FRAME), "kernel"),
        "number": Fitted(
            GradientBoostingRegressor(n_estimators=5, random_state=0).fit(NUMBERS, VALUE),
            *(NUMBERS, signature(NUMBERS), "python"),
        ),
    }
    versions = [version(name, one, saved(one, directory / name)) for name, one in fits.items()]
    with app(directory / "data", *versions) as running:
        yield running


def rows_counted(scoring: App, model: str) -> tuple[float, float]:
    """Give how many batches of a model there were, and how many rows in them."""
    text = scoring.client.get("/metrics").text
    found = {}
    for line in text.splitlines():
        for what in ("count", "sum"):
            if line.startswith(f"mlflow_ext_batch_rows_{what}{{") and f'model="{model}"' in line:
                found[what] = float(line.rsplit(" ", 1)[1])
    return found.get("count", 0.0), found.get("sum", 0.0)


def long_way(scoring: App, model: str, body: bytes, length: int | None = None) -> tuple[Any, bytes]:
    """Answer as the routes do; gives the answer and what the log keeps."""
    answer = OpenInference(length)(opened(scoring, model), body, "application/json")
    assert answer.logged is not None
    return json.loads(answer.body), answer.logged.response


@pytest.mark.parametrize("case", sorted(GOOD))
def test_the_same_answer(scoring: App, case: str) -> None:
    """Body, headers and what is logged are those of the long way; and the plan's batches counted it."""
    model, document = GOOD[case]
    body = json.dumps(document).encode()
    before, logged = rows_counted(scoring, model), len(scoring.records())
    for path in (f"/v2/models/{model}/infer", f"/v2/models/{model}/versions/1/infer"):
        answer = scoring.client.post(path, content=body, headers={"X-Request-Id": "mine"})
        expected, response = long_way(scoring, model, body)
        assert (answer.status_code, answer.json()) == (200, expected)
        assert answer.headers["x-request-id"] == "mine"
        assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == (model, "1")
    records = scoring.records()[logged:]
    assert len(records) == 2
    for record in records:
        assert json.loads(record.response) == json.loads(response)
        assert record.content_type == "application/json"
    batches, rows = rows_counted(scoring, model)
    assert (batches - before[0], rows - before[1]) == (2, 2 * len(expected["outputs"][0]["data"]))


@pytest.mark.parametrize("case", sorted(BAD))
def test_mistakes_are_told_by_the_application(scoring: App, case: str) -> None:
    """What cannot be answered is refused in the protocol's form, once, and nothing of it is logged."""
    model, document = BAD[case]
    body = b"{" if document is None else json.dumps(document).encode()
    logged = len(scoring.records())
    answer = scoring.client.post(f"/v2/models/{model}/infer", content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "error_code", "request_id"}
    assert len(scoring.records()) == logged


def test_binary_tensors_by_tritonclient(scoring: App) -> None:
    """The best known client sends raw bytes and wants raw bytes: short way too."""
    before = rows_counted(scoring, "number")
    url = str(scoring.client.base_url).removeprefix("http://").rstrip("/")
    with triton.InferenceServerClient(url) as client:
        tensor = triton.InferInput("rows", [5, 2], "FP64")
        tensor.set_data_from_numpy(NUMBERS.head(5).to_numpy())
        found = client.infer("number", [tensor]).as_numpy("output-0")
    wanted = opened(scoring, "number").predictor.predict(NUMBERS.head(5))
    assert np.array_equal(found, wanted)
    assert rows_counted(scoring, "number")[0] == before[0] + 1


def test_large_answers_are_compressed(scoring: App) -> None:
    """As the long way does, where the client asks for it."""
    rows = pd.concat([NUMBERS] * 4).head(1_000)
    document = {"inputs": [{**MATRIX, "shape": [1_000, 2], "data": rows.to_numpy().round(3).ravel().tolist()}]}
    answer = scoring.client.post("/v2/models/words/infer", json=document, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["outputs"][0]["data"]) == 1_000


def test_requests_are_computed_together(scoring: App) -> None:
    """Of many clients at once, each gets its own rows' answer, and there are fewer batches than requests."""
    before = rows_counted(scoring, "number")
    expected = opened(scoring, "number").predictor.predict(NUMBERS)
    url = f"{scoring.client.base_url}/v2/models/number/infer"

    def ask(number: int) -> bool:
        with httpx.Client(timeout=60) as client:
            right = True
            for place in range(number, number + 25):
                data = NUMBERS.iloc[place].tolist()
                answer = client.post(url, json={"inputs": [{**MATRIX, "shape": [1, 2], "data": data}]})
                right &= answer.json()["outputs"][0]["data"] == [expected[place]]
            return right

    with ThreadPoolExecutor(12) as clients:
        assert all(clients.map(ask, range(0, 240, 20)))
    batches, rows = rows_counted(scoring, "number")
    assert rows - before[1] == 300
    assert batches - before[0] < 300
