"""Whatever models give becomes tensors: names by label or signature, datatypes by what the values are."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from scipy.sparse import csr_matrix

from serving.openinference.model_output import output_tensors

AT = np.array(["2026-01-02T03:04:05", "NaT"], dtype="datetime64[s]")


def shown(predictions: Any, schema: Schema | None = None) -> list[tuple[str, str, list[Any]]]:
    """Give names, datatypes and elements of the outputs."""
    return [(one.name, one.datatype, one.data.tolist()) for one in output_tensors(predictions, schema)]


def columns(*names: str | None) -> Schema:
    """Make an output signature of columns."""
    return Schema([ColSpec(DataType.double, name) for name in names])


@pytest.mark.parametrize(
    ("predictions", "datatype", "elements"),
    [
        (np.array([1, 2]), "INT64", [1, 2]),
        (np.array([1, 2], np.uint8), "UINT8", [1, 2]),
        (np.array([0.5], np.float16), "FP16", [0.5]),
        (np.array([0.5], np.longdouble), "FP64", [0.5]),
        (np.array([1, 2], ">i4"), "INT32", [1, 2]),
        (np.array([True, False]), "BOOL", [True, False]),
        (np.array([[0.5, 1.5]]), "FP64", [[0.5, 1.5]]),
        (np.array(["a", "é"]), "BYTES", [b"a", "é".encode()]),
        (np.array([b"\xff"]), "BYTES", [b"\xff"]),
        (np.array([1, 2], dtype=object), "INT64", [1, 2]),
        (np.array([True, False], dtype=object), "BOOL", [True, False]),
        (np.array([0.5, 1], dtype=object), "FP64", [0.5, 1.0]),
        (np.array(["a", None, np.nan], dtype=object), "BYTES", [b"a", b"", b""]),
        (np.array([2**70], dtype=object), "BYTES", [str(2**70).encode()]),
        (np.array([], dtype=object), "BYTES", []),
        (AT, "BYTES", [b"2026-01-02T03:04:05", b"NaT"]),
        (7, "INT64", [7]),
        ("text", "BYTES", [b"text"]),
        ([1, 2.5], "FP64", [1.0, 2.5]),
        ([1, "a"], "BYTES", [b"1", b"a"]),
        ([[1, 2], [3, 4]], "INT64", [[1, 2], [3, 4]]),
        ([[1, 2], [3]], "BYTES", [b"[1, 2]", b"[3]"]),
        ([{"a": 1}, {"b": np.float64(0.5)}], "BYTES", [b'{"a": 1}', b'{"b": 0.5}']),
        ([[1], None], "BYTES", [b"[1]", b""]),
        ([Decimal("1.5")], "BYTES", [b"1.5"]),
        ([dt.date(2026, 1, 2)], "BYTES", [b"2026-01-02"]),
        (pd.Series([1, 2], dtype="Int64"), "INT64", [1, 2]),
        (pd.Series(["a", "b"], dtype="category"), "BYTES", [b"a", b"b"]),
        (csr_matrix([[0, 1.0]]), "FP64", [[0.0, 1.0]]),
    ],
    ids=str,
)
def test_values(predictions: Any, datatype: str, elements: list[Any]) -> None:
    """Each kind of values has its datatype; what no number type holds is text, or JSON."""
    assert shown(predictions) == [("output-0", datatype, elements)]


def test_missing_numbers() -> None:
    """A missing number among numbers is NaN."""
    for values in (np.array([1, None], dtype=object), pd.Series([1, pd.NA], dtype="Int64")):
        [tensor] = output_tensors(values, None)
        assert tensor.datatype == "FP64"
        assert np.array_equal(tensor.data, [1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("predictions", "schema", "names"),
    [
        (np.ones(2), columns("total"), ["total"]),
        (np.ones((2, 2)), columns("p", "q"), ["p", "q"]),
        (np.ones((2, 2)), columns(None, None), ["output-0"]),
        (np.ones((2, 3)), columns("p", "q"), ["output-0"]),
        (np.ones((2, 2)), Schema([TensorSpec(np.dtype("float64"), (-1, 2), "both")]), ["both"]),
        (pd.DataFrame({"x": [1], "y": ["a"]}), columns("p", "q"), ["x", "y"]),
        (pd.DataFrame([[1, 2]]), columns("p", "q"), ["p", "q"]),
        (pd.DataFrame([[1, 2]]), None, ["output-0", "output-1"]),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), None, ["output-0", "output-1"]),
        ({"x": [1], "y": np.ones((1, 2))}, None, ["x", "y"]),
        (pd.DataFrame(), None, []),
    ],
)
def test_names(predictions: Any, schema: Schema | None, names: list[str]) -> None:
    """Outputs are called as the model calls them, else as the signature does, else by number."""
    assert [name for name, _, _ in shown(predictions, schema)] == names


@pytest.mark.parametrize("predictions", [np.array([1j]), [[{1, 2}]], {"x": [[object()], []]}])
def test_what_cannot_be_written(predictions: Any) -> None:
    """What neither a datatype nor JSON holds is no answer."""
    with pytest.raises((TypeError, ValueError)):
        output_tensors(predictions, None)
