"""From tensors to what a model's `predict` takes, by its signature; and the same request in MLflow's scoring protocol.

Columns come as one tensor each, or all in one where they share a numeric type; a model without a signature takes what
it gets. Answers: `model_output.py`.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from mlflow_ext.errors import InvalidInputError
from serving.openinference.signature import NUMERIC, TensorDescription, described
from serving.openinference.tensors import BYTES, Array, Tensor, converted


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A model's input.

    Attributes:
        make: Makes what `predict` takes; a plan needs none of it.
        document: The same as a request of MLflow's scoring protocol, before it is written as JSON.
        finite: Whether no number in it is NaN or infinite.
    """

    make: Callable[[], Any]
    document: dict[str, Any]
    finite: bool

    def written(self, params: Mapping[str, Any] | None) -> bytes:
        """Write the request as MLflow's scoring protocol has it; NaN and infinities as Python's JSON does."""
        document = self.document if params is None else {**self.document, "params": params}
        return msgspec.json.encode(document) if self.finite else json.dumps(document).encode()


def model_input(inputs: Sequence[Tensor], schema: Schema | None) -> ModelInput:
    """Make a model's input.

    Raises:
        InvalidInputError: The tensors are not those of the signature, by name, datatype or shape.
    """
    if schema is None or not schema.inputs:
        return _as_given(inputs)
    descriptions = described(schema, "input")
    tensors = [spec for spec in schema.inputs if isinstance(spec, TensorSpec)]
    if tensors:
        return _tensors(inputs, tensors, descriptions)
    specs = [spec for spec in schema.inputs if isinstance(spec, ColSpec)]
    matrix = _matrix(inputs, descriptions)
    if matrix is not None:
        names = _column_names(specs, descriptions)
        data = converted(matrix, descriptions[0].datatype)
        document = _split(names, data.tolist())
        return ModelInput(partial(pd.DataFrame, data, columns=names), document, _finite(data))
    return _columns(inputs, specs, descriptions)


def _columns(
    inputs: Sequence[Tensor], specs: Sequence[ColSpec], descriptions: Sequence[TensorDescription]
) -> ModelInput:
    required = [one.name for one, spec in zip(descriptions, specs, strict=True) if spec.required]
    given = _by_name(inputs, descriptions, required)
    _check_rows([given[one.name] for one in descriptions if one.name in given])
    values: dict[Any, Any] = {}
    logged: dict[Any, list[Any]] = {}
    names = _column_names(specs, descriptions)
    for name, spec, one in zip(names, specs, descriptions, strict=True):
        tensor = given.get(one.name)
        if tensor is not None:
            values[name], logged[name] = _column(tensor, spec, one.datatype)
    document = _split(list(logged), [list(row) for row in zip(*logged.values(), strict=True)])
    finite = all(_finite(tensor.data) for tensor in inputs)
    return ModelInput(partial(pd.DataFrame, values), document, finite)


def _column(tensor: Tensor, spec: ColSpec, datatype: str) -> tuple[Any, list[Any]]:
    """Give a column's values, and the same as MLflow's protocol writes them."""
    flat = converted(tensor, datatype).ravel()
    if datatype != BYTES:
        return flat, flat.tolist()
    if spec.type is DataType.binary:
        return flat, [base64.b64encode(item).decode() for item in flat]
    texts = _texts(tensor.name, flat)
    if spec.type is DataType.string:
        return pd.Series(texts, dtype=object), texts
    try:
        if spec.type is DataType.datetime:
            times = pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", utc=True)
            local = times.dt.tz_localize(None).astype("datetime64[ns]")
            # all in one form: MLflow's parser wants that of the dates of one column
            written = np.datetime_as_string(local.to_numpy(), unit="ns").tolist()
            return local, [None if time == "NaT" else time for time in written]
        values = [json.loads(text) for text in texts]
    except (ValueError, RecursionError) as exc:
        what = "a date and time (ISO 8601)" if spec.type is DataType.datetime else "JSON"
        raise InvalidInputError(f"input {tensor.name!r} holds a text that is not {what}") from exc
    return pd.Series(values, dtype=object), values


def _matrix(inputs: Sequence[Tensor], descriptions: Sequence[TensorDescription]) -> Tensor | None:
    """Give the one tensor that holds all columns, where that is what was sent."""
    datatypes = {one.datatype for one in descriptions}
    if len(inputs) != 1 or len(descriptions) < 2 or len(datatypes) != 1 or not datatypes <= NUMERIC:
        return None
    tensor = inputs[0]
    if tensor.name in {one.name for one in descriptions}:
        return None
    if len(tensor.shape) != 2 or tensor.shape[1] != len(descriptions):
        raise InvalidInputError(
            f"input {tensor.name!r} has shape {list(tensor.shape)}: send shape [rows, {len(descriptions)}], or one "
            f"tensor a column, named {_some([one.name for one in descriptions])}"
        )
    return tensor


def _tensors(
    inputs: Sequence[Tensor], specs: Sequence[TensorSpec], descriptions: Sequence[TensorDescription]
) -> ModelInput:
    if specs[0].name is None:
        if len(inputs) != 1:
            raise InvalidInputError(f"the model takes one input, {len(inputs)} were sent")
        array = _tensor(inputs[0], specs[0], descriptions[0])
        return _whole(array)
    given = _by_name(inputs, descriptions, [one.name for one in descriptions])
    arrays = {one.name: _tensor(given[one.name], spec, one) for spec, one in zip(specs, descriptions, strict=True)}
    return _named(arrays)


def _tensor(tensor: Tensor, spec: TensorSpec, description: TensorDescription) -> Array:
    fits = len(tensor.shape) == len(description.shape) and all(
        size in {-1, given} for size, given in zip(description.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise InvalidInputError(
            f"input {tensor.name!r} has shape {list(tensor.shape)}; the model takes {list(description.shape)} (-1: any)"
        )
    if description.datatype != BYTES:
        # a copy, since models may write into their input, and bytes of a body cannot be written to
        return np.array(converted(tensor, description.datatype))
    if spec.type.kind not in "OUS":
        raise InvalidInputError(f"input {tensor.name!r}: the model takes NumPy's {spec.type}, which the protocol lacks")
    items = converted(tensor, BYTES)
    if spec.type.kind == "S":
        return items.astype("S")
    texts = np.empty(items.size, dtype=object)
    texts[:] = _texts(tensor.name, items.ravel())
    return texts.reshape(items.shape).astype(spec.type if spec.type.kind == "O" else str)


def _as_given(inputs: Sequence[Tensor]) -> ModelInput:
    """Make the input of a model without a signature: an array, a data frame, or a dictionary of arrays."""
    arrays = {tensor.name: _plain(tensor) for tensor in inputs}
    if len(inputs) == 1:
        return _whole(arrays[inputs[0].name])
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) == 1 and all(_is_column(tensor) for tensor in inputs):
        flat = {name: array.ravel() for name, array in arrays.items()}
        data = [list(row) for row in zip(*(column.tolist() for column in flat.values()), strict=True)]
        finite = all(map(_finite, arrays.values()))
        return ModelInput(partial(pd.DataFrame, flat), _split(list(flat), data), finite)
    return _named(arrays)


def _whole(array: Array) -> ModelInput:
    return ModelInput(lambda: array, {"inputs": array.tolist()}, _finite(array))


def _named(arrays: dict[str, Array]) -> ModelInput:
    document = {"inputs": {name: array.tolist() for name, array in arrays.items()}}
    return ModelInput(lambda: arrays, document, all(map(_finite, arrays.values())))


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _plain(tensor: Tensor) -> Array:
    if tensor.datatype != BYTES:
        return np.array(tensor.data)
    texts = np.empty(tensor.data.size, dtype=object)
    texts[:] = _texts(tensor.name, tensor.data.ravel())
    return texts.reshape(tensor.shape)


def _by_name(
    inputs: Sequence[Tensor], descriptions: Sequence[TensorDescription], required: Sequence[str]
) -> dict[str, Tensor]:
    given = {tensor.name: tensor for tensor in inputs}
    known = [one.name for one in descriptions]
    if missing := [name for name in required if name not in given]:
        raise InvalidInputError(f"input {_some(missing)} is missing; the model's inputs are {_some(known)}")
    if extra := [name for name in given if name not in set(known)]:
        raise InvalidInputError(f"input {_some(extra)} is unknown; the model's inputs are {_some(known)}")
    return given


def _check_rows(columns: Sequence[Tensor]) -> None:
    for tensor in columns:
        if not _is_column(tensor):
            raise InvalidInputError(
                f"input {tensor.name!r} has shape {list(tensor.shape)}; a column has [rows] or [rows, 1]"
            )
    lengths = {tensor.shape[0] for tensor in columns}
    if len(lengths) != 1:
        raise InvalidInputError(f"the inputs differ in their number of rows: {sorted(lengths)}")


def _is_column(tensor: Tensor) -> bool:
    return len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)


def _column_names(specs: Sequence[ColSpec], descriptions: Sequence[TensorDescription]) -> list[Any]:
    """Name the data frame's columns; those without a name go by their position, as in MLflow."""
    if specs[0].name is None:
        return list(range(len(specs)))
    return [one.name for one in descriptions]


def _texts(name: str, items: Array) -> list[str]:
    try:
        return [item.decode() for item in items]
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"input {name!r} holds bytes that are not UTF-8 text") from exc


def _split(columns: Sequence[Any], data: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(columns), "data": list(data)}}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def parameters_for(parameters: Mapping[str, Any], schema: Any) -> dict[str, Any] | None:
    """Pick the model's params (of its `ParamSchema`) from a request's parameters; the others are the protocol's."""
    if schema is None:
        return None
    known = {spec.name for spec in schema.params}
    return {name: value for name, value in parameters.items() if name in known} or None
