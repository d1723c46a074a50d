"""The same bodies to MLflow's own scoring server and to ours: equal status and JSON, the listed differences apart.

The differences are listed in docs/serving.md, each with its reason.
"""

import io
import json
from collections.abc import Iterator
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from tests.integration.serving.pair import JSON, Pair, both

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with what it was given, so that an answer shows how the input was understood."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        if isinstance(model_input, dict):
            return {key: np.asarray(value) for key, value in model_input.items()}
        if params:
            return {"params": params, "rows": len(model_input)}
        return model_input


class Failing(mlflow.pyfunc.PythonModel):
    """Fails whatever it is given."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        raise RuntimeError("no prediction today")


class Unwritable(mlflow.pyfunc.PythonModel):
    """Answers with something that JSON cannot hold."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        return [object()]


def _columns(*specs: tuple[str, DataType, bool]) -> Schema:
    return Schema([ColSpec(kind, name, required) for name, kind, required in specs])


ALL_TYPES = _columns(
    ("boolean", DataType.boolean, True),
    ("integer", DataType.integer, True),
    ("long", DataType.long, True),
    ("float", DataType.float, True),
    ("double", DataType.double, True),
    ("string", DataType.string, True),
    ("datetime", DataType.datetime, True),
    ("maybe", DataType.double, False),
)
SIGNATURES = {
    "numbers": ModelSignature(_columns(("a", DataType.double, True), ("b", DataType.double, True))),
    "types": ModelSignature(ALL_TYPES),
    "optional": ModelSignature(_columns(("a", DataType.long, True), ("b", DataType.string, False))),
    "tensor": ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 3))])),
    "tensors": ModelSignature(
        Schema([TensorSpec(np.dtype("int64"), (-1, 2), "x"), TensorSpec(np.dtype("float64"), (-1,), "y")])
    ),
    "unnamed": ModelSignature(Schema([ColSpec("double"), ColSpec("double")])),
    "params": ModelSignature(
        _columns(("a", DataType.double, True)),
        params=ParamSchema([ParamSpec("t", "double", 0.5), ParamSpec("names", "string", ["x"], (-1,))]),
    ),
    "none": None,
    "failing": ModelSignature(_columns(("a", DataType.double, True))),
    "unwritable": ModelSignature(_columns(("a", DataType.double, True))),
}
MODELS = {"failing": Failing, "unwritable": Unwritable}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers with a model for each signature."""
    directory = tmp_path_factory.mktemp("protocol")
    for name, signature in SIGNATURES.items():
        model = MODELS.get(name, Echo)()
        mlflow.pyfunc.save_model(str(directory / name), python_model=model, signature=signature, pip_requirements=[])
    with both({name: str(directory / name) for name in SIGNATURES}, directory / "data") as made:
        yield made


ROW: dict[str, Any] = {
    "boolean": True,
    "integer": 1,
    "long": 2**40,
    "float": 1.5,
    "double": 0.1,
    "string": "é日\u0000",
    "datetime": "2026-01-02T03:04:05",
    "maybe": None,
}


def split(columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    """Make a dataframe_split."""
    return {"dataframe_split": {"columns": columns, "data": list(rows)}}


DOCUMENTS: list[tuple[str, Any]] = [
    ("numbers", split(["a", "b"], [1.0, 2.0], [3.5, -4.0])),
    ("numbers", split(["b", "a"], [1.0, 2.0])),
    ("numbers", split(["a", "b", "c"], [1, 2, 3])),
    ("numbers", split(["a"], [1.0])),
    ("numbers", split(["a", "a", "b"], [1, 2, 3])),
    ("numbers", split(["a", "b"])),
    ("numbers", split(["a", "b"], [1.0])),
    ("numbers", split(["a", "b"], [1, 2])),
    ("numbers", split(["a", "b"], ["1", "2"])),
    ("numbers", split(["a", "b"], [None, 1.0])),
    ("numbers", split(["a", "b"], [float("nan"), float("inf")])),
    ("numbers", split(["a", "b"], [True, False])),
    ("numbers", split(["a", "b"], [2**70, 1.0])),
    ("numbers", split(["a", "b"], [[1], {}])),
    ("numbers", {"dataframe_split": {"data": [[1.0, 2.0]]}}),
    ("numbers", {"dataframe_split": {"columns": ["a", "b"]}}),
    ("numbers", {"dataframe_split": {"columns": ["a", "b"], "index": [7], "data": [[1.0, 2.0]]}}),
    ("numbers", {"dataframe_split": [1, 2]}),
    ("numbers", {"dataframe_split": None}),
    ("numbers", {"dataframe_split": "text"}),
    ("numbers", {"dataframe_records": [{"a": 1.0, "b": 2.0}, {"b": 1.0, "a": 0.0}]}),
    ("numbers", {"dataframe_records": [{"a": 1.0}]}),
    ("numbers", {"dataframe_records": []}),
    ("numbers", {"dataframe_records": {"a": 1.0, "b": 2.0}}),
    ("numbers", {"dataframe_records": [1, 2]}),
    ("numbers", {"instances": [{"a": 1.0, "b": 2.0}]}),
    ("numbers", {"instances": [[1.0, 2.0]]}),
    ("numbers", {"inputs": {"a": [1.0], "b": [2.0]}}),
    ("numbers", {"inputs": [[1.0, 2.0]]}),
    ("numbers", {"inputs": {"a": [1.0, 2.0], "b": [2.0]}}),
    ("numbers", {"inputs": 3}),
    ("numbers", {"instances": None}),
    ("numbers", {"dataframe_split": {}, "instances": []}),
    ("numbers", {"columns": ["a"], "data": [[1]]}),
    ("numbers", {}),
    ("numbers", []),
    ("numbers", 3),
    ("numbers", "text"),
    ("numbers", None),
    ("numbers", {**split(["a", "b"], [1.0, 2.0]), "params": {"t": 1}}),
    ("numbers", {**split(["a", "b"], [1.0, 2.0]), "other": 1}),
    ("numbers", {"messages": [{"role": "user", "content": "hello"}]}),
    ("numbers", {"input": "hello"}),
    ("types", {"dataframe_records": [ROW]}),
    ("types", split(list(ROW), list(ROW.values()), list(ROW.values()))),
    *(("types", {"dataframe_records": [{**ROW, key: value}]}) for key in ROW for value in (None, "x", 1.5, [1], 2**70)),
    *(("types", {"dataframe_records": [{k: v for k, v in ROW.items() if k != key}]}) for key in ROW),
    ("types", {"inputs": {key: [value] for key, value in ROW.items()}}),
    ("types", {"instances": [ROW]}),
    ("optional", {"dataframe_records": [{"a": 1}]}),
    ("optional", {"dataframe_records": [{"a": 1, "b": None}, {"a": 2, "b": "x"}]}),
    ("optional", {"dataframe_records": [{"a": 1.0, "b": "x"}]}),
    ("optional", {"dataframe_records": [{"a": 1.5, "b": "x"}]}),
    ("tensor", {"inputs": [[1.0, 2.0, 3.0]]}),
    ("tensor", {"instances": [[1, 2, 3], [4, 5, 6]]}),
    ("tensor", {"inputs": [[1.0, 2.0]]}),
    ("tensor", {"inputs": [[1.0, 2.0, 3.0], [1.0]]}),
    ("tensor", {"inputs": [["a", "b", "c"]]}),
    ("tensor", {"inputs": []}),
    ("tensor", {"inputs": {"x": [[1.0, 2.0, 3.0]]}}),
    ("tensor", split(["a", "b", "c"], [1.0, 2.0, 3.0])),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": [0.5]}}),
    ("tensors", {"inputs": {"x": [[1, 2]]}}),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": [0.5], "z": [1]}}),
    ("tensors", {"instances": [{"x": [1, 2], "y": 0.5}, {"x": [3, 4], "y": 1.5}]}),
    ("tensors", {"instances": [{"x": [1, 2]}]}),
    ("unnamed", split([0, 1], [1.0, 2.0])),  # type: ignore[list-item]
    ("unnamed", {"inputs": [[1.0, 2.0]]}),
    ("unnamed", {"instances": [[1.0, 2.0], [3.0, 4.0]]}),
    ("params", {**split(["a"], [1.0]), "params": {"t": 0.1}}),
    ("params", {**split(["a"], [1.0]), "params": {"t": "hot"}}),
    ("params", {**split(["a"], [1.0]), "params": {"t": 1, "names": ["a", "b"]}}),
    ("params", {**split(["a"], [1.0]), "params": {"unknown": 1}}),
    ("params", {**split(["a"], [1.0]), "params": [1]}),
    ("params", {**split(["a"], [1.0]), "params": None}),
    ("params", split(["a"], [1.0])),
    ("none", split(["any", "thing"], [1, "x"])),
    ("none", {"inputs": [1, 2, 3]}),
    ("none", {"inputs": {"a": [1], "b": ["x"]}}),
    ("none", {"instances": [{"a": 1}, {"b": 2}]}),
    ("none", {"dataframe_records": [{"a": {"b": [1, None]}}]}),
    ("failing", split(["a"], [1.0])),
    ("failing", split(["b"], [1.0])),
    ("unwritable", split(["a"], [1.0])),
]


@pytest.mark.parametrize("number", range(len(DOCUMENTS)))
def test_json_bodies(pair: Pair, number: int) -> None:
    """Every JSON body that we could think of is answered as MLflow answers it."""
    model, document = DOCUMENTS[number]
    pair.compare(model, json.dumps(document).encode())


def parquet(frame: pd.DataFrame) -> bytes:
    """Write a frame as Parquet."""
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 0.25]})
OTHER_BODIES: list[tuple[str, bytes, str | None]] = [
    ("numbers", b"a,b\n1,2\n3,4\n", CSV),
    ("numbers", b"a,b\n1,x\n", CSV),
    ("numbers", b"a\n1\n", CSV),
    ("numbers", b"", CSV),
    ("numbers", b"a,b\n", CSV),
    ("numbers", b"\xff\xfe", CSV),
    ("numbers", b"a,b\n1,2,3\n", CSV),
    ("none", b"q,r\n1,x\n", CSV),
    ("numbers", parquet(FRAME), PARQUET),
    ("numbers", parquet(FRAME[["a"]]), PARQUET),
    ("numbers", b"PAR1 not", PARQUET),
    ("numbers", b"", PARQUET),
    ("none", parquet(FRAME), PARQUET),
    ("numbers", b"", JSON),
    ("numbers", b"{", JSON),
    ("numbers", b"\xff", JSON),
    ("numbers", b"\xef\xbb\xbf{}", JSON),
    ("numbers", json.dumps(DOCUMENTS[0][1]).encode("utf-16"), JSON),
    ("numbers", b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", JSON),
    *(
        ("numbers", json.dumps(DOCUMENTS[0][1]).encode(), content_type)
        for content_type in (
            *("application/json; charset=utf-8", "application/json;charset=UTF-8", "application/json; charset=latin-1"),
            *("application/json; format=pandas-split", "application/json; charset=utf-8; x=y", "text/plain", "", ";"),
            *("application/JSON", "application/json;", "application/xml", "multipart/form-data; boundary=x", None),
        )
    ),
]


@pytest.mark.parametrize("number", range(len(OTHER_BODIES)))
def test_other_bodies_and_content_types(pair: Pair, number: int) -> None:
    """CSV, Parquet, broken bytes and every content type are answered as MLflow answers them."""
    pair.compare(*OTHER_BODIES[number])


_leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 1e308, "2026-01-01", "NaN", ""]),
)
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
)
_names = st.sampled_from(["a", "b", "x", "y", *ROW])
_frames = st.builds(
    lambda columns, rows: {"columns": columns, "data": rows},
    st.lists(_names, max_size=4),
    st.lists(st.lists(_leaves, max_size=4), max_size=3),
)
_records = st.lists(st.dictionaries(_names, _leaves, max_size=4), max_size=3)
_tables = st.dictionaries(_names, st.lists(_leaves, max_size=3), max_size=4)
_documents = st.one_of(
    st.fixed_dictionaries({"dataframe_split": _frames | _values}, optional={"params": _values}),
    st.fixed_dictionaries({"dataframe_records": _records | _values}),
    st.fixed_dictionaries({"inputs": _tables | _values | st.lists(st.lists(st.floats(), min_size=3, max_size=3))}),
    st.fixed_dictionaries({"instances": _records | _values}),
    _values,
)


@given(model=st.sampled_from(sorted(SIGNATURES)), document=_documents)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_generated_bodies(pair: Pair, model: str, document: Any) -> None:
    """Whatever JSON is made up, both servers agree."""
    pair.compare(model, json.dumps(document).encode())


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_mlflows_own_routes(pair: Pair, path: str) -> None:
    """MLflow's health and version routes answer byte for byte."""
    theirs, ours = pair.theirs.get(f"/numbers{path}"), pair.ours.client.get(path)
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_answers_are_logged_as_they_were_sent(pair: Pair) -> None:
    """The prediction log holds request and answer byte for byte, and nothing of refused requests."""
    body = json.dumps(DOCUMENTS[0][1]).encode()
    before = len(pair.ours.records())
    answer = pair.ours.client.post("/models/numbers/invocations", content=body, headers={"Content-Type": JSON})
    pair.ours.client.post("/models/numbers/invocations", content=b"{", headers={"Content-Type": JSON})
    [record] = pair.ours.records()[before:]
    assert (record.request, record.response) == (body, answer.content)
    assert record.request_id == answer.headers["x-request-id"]
    assert (record.model, record.version, record.content_type, record.arm) == ("numbers", 1, JSON, "champion")
