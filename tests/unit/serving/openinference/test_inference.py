"""The protocol byte by byte: malformed requests, answers in JSON, what is logged and counted."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.rows import typed_rows
from mlflow_ext.registry.scoring_protocol import ModelColumns, columns_of
from tests.unit.serving.in_process import App
from tests.unit.serving.openinference.models import ALL_TYPES, NUMBERS, ONE_TENSOR, serving

INFER = "/v2/models/numbers/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with a model of each signature."""
    directory = tmp_path_factory.mktemp("inference")
    with serving(directory, max_body_bytes=200_000, max_decompressed_bytes=300_000) as running:
        yield running


def column(name: str, *values: Any, datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    """Make an input with its data in JSON."""
    return {"name": name, "datatype": datatype, "shape": [len(values)], "data": list(values), **more}


ROWS: dict[str, Any] = {"inputs": [column("a", 1.0, 2), column("b", 10.0, None), column("c", 100.0, 200.0)]}


def test_json_answer(scoring: App) -> None:
    """Without binary data all is JSON: a missing number is null, and the headers name request and version."""
    answer = scoring.client.post(INFER, json={**ROWS, "id": "mine"}, headers={"X-Request-Id": "r-1"})
    assert answer.json() == {
        "model_name": "numbers",
        "model_version": "1",
        "id": "mine",
        "outputs": [{"name": "total", "datatype": "FP64", "shape": [2], "data": [111.0, None]}],
    }
    assert {
        key: answer.headers[key] for key in ("x-request-id", "x-model-name", "x-model-version", "content-type")
    } == {
        "x-request-id": "r-1",
        "x-model-name": "numbers",
        "x-model-version": "1",
        "content-type": "application/json",
    }
    assert "id" not in scoring.client.post(INFER, json=ROWS).json()


def test_binary_in_json_out(scoring: App) -> None:
    """Raw bytes in the request do not oblige the answer; an output alone may be asked for in raw bytes."""
    shape = {"datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
    inputs = [{"name": name, **shape} for name in "abc"]
    raw = b"\x00\x00\x00\x00\x00\x00\xf0\x3f" * 3
    for outputs, expected in ((None, False), ([{"name": "total", "parameters": {"binary_data": True}}], True)):
        header = json.dumps({"inputs": inputs, **({"outputs": outputs} if outputs else {})}).encode()
        answer = scoring.client.post(INFER, content=header + raw, headers={LENGTH: str(len(header))})
        assert answer.status_code == 200
        assert (LENGTH in answer.headers) == expected
        length = int(answer.headers.get(LENGTH, len(answer.content)))
        output = json.loads(answer.content[:length])["outputs"][0]
        assert output.get("data", [3.0]) == [3.0]
        if expected:
            assert output["parameters"] == {"binary_data_size": 8}
            assert answer.content[length:] == b"\x00\x00\x00\x00\x00\x00\x08\x40"
            assert answer.headers["content-type"] == "application/octet-stream"


def _with(**changes: Any) -> bytes:
    first = {**column("a", 1.0), **changes}
    first = {key: value for key, value in first.items() if value != "absent"}
    return json.dumps({"inputs": [first, column("b", 1.0), column("c", 1.0)]}).encode()


BAD: list[tuple[bytes, dict[str, str]]] = [
    *(
        (body, {})
        for body in (b"", b"{", b"[]", b"null", b"3", b"{}", b'{"inputs": {}}', b'{"inputs": []}', b"\xff\xfe")
    ),
    *((body, {}) for body in (b'{"inputs": [1]}', b'{"inputs": [{}]}', b"[" * 100_000, b'{"inputs": NaN}')),
    *((_with(name=name), {}) for name in ("", 1, None, "b", "absent")),
    *((_with(datatype=datatype), {}) for datatype in ("FP65", 1, None, "absent", "fp64", "BYTES", ["FP64"])),
    *((_with(shape=shape), {}) for shape in ([], [2], [-1], [1.0], "1", [True], [2**40], [1] * 40, {}, "absent")),
    *((_with(shape=shape, data=[]), {}) for shape in ([2**31 - 1], [2**30, 2**30], [0])),
    *((_with(data=data), {}) for data in ([], [1, 2], ["1"], [[1], [2]], {}, None, "x", [{}], [[]], "absent")),
    *((_with(parameters=value), {}) for value in ([], 1, {"binary_data_size": 8}, {"shared_memory_region": "x"})),
    (_with(parameters={"binary_data_size": 8}, data="absent"), {}),
    *((json.dumps({**ROWS, "id": value}).encode(), {}) for value in (1, [], {})),
    *((json.dumps({**ROWS, "parameters": value}).encode(), {}) for value in ([], {"binary_data_output": "yes"})),
    *((json.dumps({**ROWS, "outputs": value}).encode(), {}) for value in ({}, [1], [{}], [{"name": "nothing"}])),
    (json.dumps({**ROWS, "outputs": [{"name": "total"}, {"name": "total"}]}).encode(), {}),
    (json.dumps({**ROWS, "outputs": [{"name": "total", "parameters": {"classification": 2}}]}).encode(), {}),
    (json.dumps({**ROWS, "outputs": [{"name": "total", "parameters": {"binary_data": 1}}]}).encode(), {}),
    *((json.dumps(ROWS).encode(), {LENGTH: length}) for length in ("", "x", "-1", "1", "1e3", "999999", "9" * 40, "²")),
    (json.dumps(ROWS).encode() + b"rest", {LENGTH: str(len(json.dumps(ROWS)))}),
    *((b"no data", {"Content-Encoding": encoding}) for encoding in ("gzip", "deflate")),
    (gzip.compress(json.dumps(ROWS).encode())[:-5], {"Content-Encoding": "gzip"}),
    (gzip.compress(b"{"), {"Content-Encoding": "gzip"}),
]


def check_error(answer: Any, status: int) -> None:
    """Check that an error has the protocol's form, our code and the request's id."""
    document = answer.json()
    assert answer.status_code == status, document
    assert set(document) >= {"error", "error_code", "request_id"}
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("number", range(len(BAD)))
def test_malformed_requests(scoring: App, number: int) -> None:
    """A request that is none is 400, in the protocol's form."""
    body, headers = BAD[number]
    latin = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    check_error(scoring.client.post(INFER, content=body, headers=latin), 400)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_INPUT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c", "x"]) | _JSON,
        "datatype": st.sampled_from(["FP64", "FP32", "INT64", "BYTES", "BOOL", "BF16"]) | _JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | _JSON,
    },
    optional={"data": _JSON | st.lists(st.floats(), max_size=3), "parameters": _JSON},
)


@given(
    model=st.sampled_from(["numbers", "types", "tensor", "tensors", "none", "unnamed", "scaled"]),
    document=st.fixed_dictionaries(
        {"inputs": st.lists(_INPUT, max_size=3) | _JSON}, optional={"outputs": _JSON, "parameters": _JSON, "id": _JSON}
    ),
    rest=st.binary(max_size=16),
    length=st.none() | st.integers(-2, 400),
)
@settings(max_examples=300, deadline=None)
def test_made_up_requests(scoring: App, model: str, document: Any, rest: bytes, length: int | None) -> None:
    """Whatever is made up is answered, or refused as the request's fault."""
    body = json.dumps(document).encode()
    headers = {} if length is None else {LENGTH: str(length if length >= 0 else len(body))}
    answer = scoring.client.post(f"/v2/models/{model}/infer", content=body + rest, headers=headers)
    if answer.status_code != 200:
        check_error(answer, 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/nobody/infer", 404),
        ("POST", "/v2/models/numbers/versions/2/infer", 404),
        ("POST", "/v2/models/numbers/versions/x/infer", 400),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("GET", "/v2/models/numbers/versions/2/ready", 404),
        ("GET", "/v2/models/numbers/infer", 405),
        ("GET", "/v2/nothing", 404),
        ("POST", "/v2/repository/models/numbers/load", 404),
    ],
)
def test_errors_of_routes(scoring: App, method: str, path: str, status: int) -> None:
    """What the routes refuse has the protocol's form as well."""
    check_error(scoring.client.request(method, path, json=ROWS), status)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_both_protocols_give_the_same_predictions(scoring: App, rows: list[list[float]], whole: bool) -> None:
    """The same rows have the same predictions to the last bit, by a plan in MLflow's protocol and as tensors."""
    table = {"dataframe_split": {"columns": ["a", "b", "c"], "data": rows}}
    theirs = scoring.client.post("/models/planned/invocations", json=table).json()["predictions"]
    inputs = [column(name, *values) for name, values in zip("abc", zip(*rows, strict=True), strict=True)]
    if whole:
        inputs = [{"name": "all", "datatype": "FP64", "shape": [len(rows), 3], "data": rows}]
    ours = scoring.client.post("/v2/models/planned/infer", json={"inputs": inputs}).json()["outputs"][0]["data"]
    assert ours == theirs


def test_bounds(scoring: App) -> None:
    """Too large, too large once decompressed, and an unknown encoding are told apart."""
    check_error(scoring.client.post(INFER, content=b" " * 200_001), 413)
    bomb = gzip.compress(b" " * 10_000_000)
    check_error(scoring.client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"}), 413)
    members = gzip.compress(b" " * 200_000) * 2
    check_error(scoring.client.post(INFER, content=members, headers={"Content-Encoding": "gzip"}), 413)
    check_error(scoring.client.post(INFER, content=b"x", headers={"Content-Encoding": "br"}), 415)


def test_requests_to_mlflows_routes_may_be_compressed(scoring: App) -> None:
    """The content encodings are understood everywhere; deflate also without zlib's header."""
    body = json.dumps({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.0, 2.0, 3.0]]}}).encode()
    raw = zlib.compressobj(wbits=-15)
    for encoding, content in (
        ("gzip", gzip.compress(body)),
        ("GZIP", gzip.compress(body[:5]) + gzip.compress(body[5:])),
        ("deflate", zlib.compress(body)),
        ("deflate", raw.compress(body) + raw.flush()),
        ("identity", body),
    ):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        answer = scoring.client.post("/models/numbers/invocations", content=content, headers=headers)
        assert answer.json() == {"predictions": [6.0]}


def test_predictions_that_are_no_tensors(scoring: App) -> None:
    """A model whose predictions the protocol cannot carry is the service's fault, told without a trace."""
    check_error(scoring.client.post("/v2/models/complex/infer", json=ROWS), 500)


def test_the_repository_index(scoring: App) -> None:
    """The index lists versions by state, and all that is ready when asked for that."""
    scoring.pool.fail("numbers", 2, "it is broken")
    try:
        whole = scoring.client.post("/v2/repository/index").json()
        assert {"name": "numbers", "version": "2", "state": "UNAVAILABLE", "reason": "it is broken"} in whole
        ready = scoring.client.post("/v2/repository/index", json={"ready": True}).json()
        assert {one["state"] for one in ready} == {"READY"}
        assert len(ready) == len(whole) - 1
        for body in (b"[]", b"{", b'{"ready": 1}'):
            check_error(scoring.client.post("/v2/repository/index", content=body), 400)
    finally:
        scoring.pool.keep_only("numbers", {1})


def test_readiness_of_a_stopping_server(scoring: App) -> None:
    """A stopping server is live and not ready."""
    scoring.parts.stopping.set()
    try:
        check_error(scoring.client.get("/v2/health/ready"), 503)
        assert scoring.client.get("/v2/health/live").json() == {"live": True}
    finally:
        scoring.parts.stopping.clear()
    assert scoring.client.get("/v2/health/ready").json() == {"ready": True}


def count(scoring: App) -> list[float]:
    """Read what is counted of answers, errors and lines in the prediction log."""
    wanted = (
        'mlflow_ext_requests_total{code="200",model="scaled",version="1"}',
        'mlflow_ext_errors_total{error="INVALID_PARAMETER_VALUE",model="scaled"}',
        'mlflow_ext_spool_records_total{model="scaled"}',
    )
    lines = scoring.client.get("/metrics").text.splitlines()
    return [sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(one)) for one in wanted]


def test_requests_are_counted_and_only_predictions_logged(scoring: App) -> None:
    """Requests count as those of the other protocol; errors are not in the prediction log."""
    before, counted = len(scoring.records()), count(scoring)
    scoring.client.post("/v2/models/scaled/infer", json=ROWS, headers={"X-Request-Id": "good"})
    scoring.client.post("/v2/models/scaled/infer", json={"inputs": []})
    [record] = scoring.records()[before:]
    assert (record.request_id, record.model, record.version, record.content_type) == (
        *("good", "scaled", 1),
        "application/json",
    )
    assert [after - earlier for after, earlier in zip(count(scoring), counted, strict=True)] == [1, 1, 1]


TYPED: dict[str, tuple[str, list[Any], list[Any]]] = {
    "boolean": ("BOOL", [True, False], [True, False]),
    "integer": ("INT32", [1, -1], [1, -1]),
    "long": ("INT64", [2**40, -1], [2**40, -1]),
    "float": ("FP32", [1.5, None], [1.5, None]),
    "double": ("FP64", [0.1, 1e300], [0.1, 1e300]),
    "string": ("BYTES", ["é日", ""], ["é日", ""]),
    "binary": ("BYTES", ["ab", ""], [b"ab", b""]),
    "datetime": (
        "BYTES",
        ["2026-01-02T03:04:05.25", "2026-01-02"],
        ["2026-01-02T03:04:05.250000", "2026-01-02T00:00:00"],
    ),
    "list": ("BYTES", ["[1, 2]", "[]"], ["[1, 2]", "[]"]),
}


def test_columns_become_rows_of_the_prediction_log(scoring: App) -> None:
    """What is logged of a request is read back, typed, by the reading side of the prediction log."""
    before = len(scoring.records())
    inputs = [column(name, *values, datatype=datatype) for name, (datatype, values, _) in TYPED.items()]
    answer = scoring.client.post("/v2/models/types/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    records = scoring.records()[before:]
    tables, refused = typed_rows(records, columns_of(ALL_TYPES))
    assert refused == []
    [table] = tables
    for name, (_, _, expected) in TYPED.items():
        column_ = table.column(name if name in table.column_names else f"input.{name}")
        assert [value.isoformat() if name == "datetime" else value for value in column_.to_pylist()] == expected
    assert table.column("maybe").to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("model", "schema", "inputs"),
    [
        ("numbers", NUMBERS, [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]),
        ("tensor", ONE_TENSOR, [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}]),
        ("unnamed", None, [column("input-0", 1.0, 2.0), column("input-1", 1, 2, datatype="INT64")]),
        ("none", None, [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]),
        ("none", None, [column("p", 1.0, 2.0), column("q", "x", "y", datatype="BYTES")]),
        ("scaled", NUMBERS, [column("a", 1.0, 2.0), column("b", 1.0, 2.0), column("c", 1.0, 2.0)]),
    ],
)
def test_every_form_is_read_back(scoring: App, model: str, schema: Any, inputs: Any) -> None:
    """Whatever form a request has, the reading side makes one row of each of its rows."""
    before = len(scoring.records())
    body = {"inputs": inputs, "parameters": {"factor": 2.0}}
    assert scoring.client.post(f"/v2/models/{model}/infer", json=body).status_code == 200
    columns = columns_of(schema) if schema is not None else ModelColumns()
    [table], refused = typed_rows(scoring.records()[before:], columns)
    assert (table.num_rows, refused) == (2, [])
