"""From what a model's `predict` gives to tensors, named after its signature. The other way: `model_input.py`."""

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import Schema

from serving.openinference.tensors import BYTES, DTYPES, Array, Tensor, datatype_of_dtype

_WRITTEN = (str, int, float, np.generic, Decimal, dt.date, dt.time, dt.timedelta)
"""What becomes text as it prints itself."""


def output_tensors(predictions: Any, schema: Schema | None) -> list[Tensor]:
    """Make the output tensors.

    A data frame or dictionary gives one tensor a column or key. Anything else is one tensor, unless the signature
    names as many columns as it has. Those that nobody names are `output-0`, `output-1` …

    Raises:
        ValueError: The predictions cannot be written as tensors.
        TypeError: The same.
    """
    names = [spec.name for spec in schema.inputs if spec.name is not None] if schema is not None else []
    if isinstance(predictions, pd.DataFrame):
        columns = [predictions.iloc[:, number] for number in range(predictions.shape[1])]
        labels = list(predictions.columns)
        return [_tensor(name, column) for name, column in zip(_names(labels, names), columns, strict=True)]
    if isinstance(predictions, dict):
        return [
            _tensor(name, values)
            for name, values in zip(_names(list(predictions), names), predictions.values(), strict=True)
        ]
    whole = _tensor(name_of_one(schema), predictions)
    if len(names) > 1 and len(whole.shape) == 2 and whole.shape[1] == len(names):
        return [Tensor(name, whole.datatype, whole.data[:, number]) for number, name in enumerate(names)]
    return [whole]


def name_of_one(schema: Schema | None) -> str:
    """Give the name of the tensor that holds one value a row."""
    names = [spec.name for spec in schema.inputs if spec.name is not None] if schema is not None else []
    return str(names[0]) if len(names) == 1 else "output-0"


def _names(labels: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Name columns: by their labels, or where these are numbers, by the signature or by position."""
    if labels and all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels):
        return list(labels)
    return list(names) if len(names) == len(labels) else [f"output-{number}" for number in range(len(labels))]


def _tensor(name: str, values: Any) -> Tensor:
    datatype, data = _typed(_array(values))
    return Tensor(name, datatype, data)


def _array(values: Any) -> Array:
    if isinstance(values, pd.Series | pd.Index):
        values = values.to_numpy()
    # sparse matrices, as some transformers give them
    if hasattr(values, "toarray"):
        values = values.toarray()
    if isinstance(values, str | bytes | dict):
        values = [values]
    if isinstance(values, list):
        return _array_of_list(values)
    return np.atleast_1d(np.asarray(values))


def _array_of_list(values: list[Any]) -> Array:
    # numbers beside texts would all become texts
    if any(isinstance(value, str | bytes | dict) or value is None for value in values):
        return _objects(values)
    try:
        return np.atleast_1d(np.asarray(values))
    except ValueError:
        # uneven lists: each becomes JSON
        return _objects(values)


def _objects(values: Sequence[Any]) -> Array:
    items = np.empty(len(values), dtype=object)
    # one by one: NumPy would take lists of one length for rows
    for index, value in enumerate(values):
        items[index] = value
    return items


def _typed(array: Array) -> tuple[str, Array]:
    if array.dtype.kind == "O":
        array = _inferred(array)
    kind = array.dtype.kind
    if kind in "biuf":
        # wider than the protocol knows
        if kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        datatype = datatype_of_dtype(array.dtype)
        return datatype, array.astype(DTYPES[datatype], copy=False)
    if kind == "M":
        array = np.datetime_as_string(array).astype(object)
    if kind == "c":
        raise TypeError("complex numbers are no datatype of the protocol")
    items = np.empty(array.size, dtype=object)
    items[:] = [_bytes(item) for item in array.ravel()]
    return BYTES, items.reshape(array.shape)


def _inferred(array: Array) -> Array:
    """Give objects that are all numbers, or all truth values, the type that they have; a missing number is NaN."""
    flat = array.ravel().tolist()
    types = {type(item) for item in flat}
    if types == {int} and not all(-(2**63) <= item < 2**63 for item in flat):
        return array
    plain = {bool: np.bool_, int: np.int64, float: np.float64}
    for kind, dtype in plain.items():
        if types == {kind}:
            return np.array(flat, dtype=dtype).reshape(array.shape)
    numbers = {int, float, type(None), type(pd.NA), np.float64, np.float32, np.int64, np.int32}
    if types and types <= numbers:
        return np.array([np.nan if item is None or item is pd.NA else item for item in flat], float).reshape(
            array.shape
        )
    return array


def _bytes(item: Any) -> bytes:
    """Write one element of BYTES: text as UTF-8, nothing as nothing, lists and objects as JSON."""
    if isinstance(item, bytes):
        return item
    if item is None or item is pd.NA or item is pd.NaT or (isinstance(item, float) and np.isnan(item)):
        return b""
    if isinstance(item, list | dict | tuple | np.ndarray):
        return json.dumps(item, default=_listed).encode()
    if not isinstance(item, _WRITTEN):
        raise TypeError(f"{type(item).__name__} cannot be written as BYTES")
    return str(item).encode()


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
