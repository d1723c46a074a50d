"""Tensors of a request that a plan may know, and a plan's predictions as a tensor; all others are the model host's.

Imports nothing of MLflow and pandas. Mistakes are told where every signature is known: `model_input.py`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlflow_ext.errors import InvalidInputError
from serving.openinference.tensors import BYTES, DTYPES, Array, Tensor, converted, datatype_of_dtype

_DATATYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "string": BYTES,
    "boolean": "BOOL",
}
_NUMBERS = frozenset({"FP64", "FP32", "INT64", "INT32"})


def request_of(inputs: Sequence[Tensor], columns: Sequence[tuple[str, str]]) -> bytes | None:
    """Write tensors as a request of MLflow's scoring protocol; `None` unless they are exactly the columns.

    Args:
        inputs: One tensor a column, or all columns in one.
        columns: Name and MLflow type name of the columns.
    """
    names = [name for name, _ in columns]
    try:
        rows = _matrix(inputs, columns) if _is_matrix(inputs, columns) else _by_column(inputs, columns)
    except (InvalidInputError, UnicodeDecodeError):
        return None
    if rows is None:
        return None
    return msgspec.json.encode({"dataframe_split": {"columns": names, "data": rows}})


def tensor_of(name: str, predictions: NDArray[Any]) -> Tensor:
    """Make the output tensor of a plan's predictions, one a row."""
    array = predictions
    if array.dtype.kind == "O":
        array = np.array(array.tolist())
    if array.dtype.kind in "biuf":
        datatype = datatype_of_dtype(array.dtype)
        return Tensor(name, datatype, array.astype(DTYPES[datatype], copy=False))
    items = np.empty(array.size, dtype=object)
    items[:] = [str(item).encode() for item in array.tolist()]
    return Tensor(name, BYTES, items)


def _is_matrix(inputs: Sequence[Tensor], columns: Sequence[tuple[str, str]]) -> bool:
    kinds = {_DATATYPES[kind] for _, kind in columns}
    return (
        len(inputs) == 1
        and len(columns) > 1
        and len(kinds) == 1
        and kinds <= _NUMBERS
        and inputs[0].name not in {name for name, _ in columns}
    )


def _matrix(inputs: Sequence[Tensor], columns: Sequence[tuple[str, str]]) -> list[Any] | None:
    tensor = inputs[0]
    if len(tensor.shape) != 2 or tensor.shape[1] != len(columns):
        return None
    data = converted(tensor, _DATATYPES[columns[0][1]])
    rows: list[Any] = data.tolist()
    return rows if _is_finite(data) else None


def _by_column(inputs: Sequence[Tensor], columns: Sequence[tuple[str, str]]) -> list[Any] | None:
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs) or given.keys() != {name for name, _ in columns}:
        return None
    values: list[list[Any]] = []
    for name, kind in columns:
        tensor = given[name]
        if len(tensor.shape) != 1 and tuple(tensor.shape[1:]) != (1,):
            return None
        data = converted(tensor, _DATATYPES[kind]).ravel()
        if not _is_finite(data):
            return None
        values.append([item.decode() for item in data] if kind == "string" else data.tolist())
    if len({len(column) for column in values}) != 1:
        return None
    return [list(row) for row in zip(*values, strict=True)]


def _is_finite(data: Array) -> bool:
    return data.dtype.kind != "f" or bool(np.isfinite(data).all())
