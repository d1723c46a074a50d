"""Tables of plain values: what most signatures ask for, and how a scikit-learn model is asked with such rows.

MLflow's protocol knows more (tensors, dates, lists, optional columns); that is left to MLflow's own code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import ColSpec, DataType
from numpy.typing import NDArray

Column = tuple[str, DataType]
PLAIN_TYPES = frozenset(
    {DataType.double, DataType.float, DataType.long, DataType.integer, DataType.string, DataType.boolean}
)
_WRITABLE = frozenset("biufUO")
"""Kinds of NumPy arrays whose values JSON can write."""


def sklearn_model(predictor: Any) -> Any | None:
    """Give the scikit-learn model under MLflow's, where its `predict` is what answers; else `None`."""
    # a model may be logged with another of its functions (`pyfunc_predict_fn="predict_proba"`)
    if predictor.metadata.flavors.get("python_function", {}).get("predict_fn", "predict") != "predict":
        return None
    return getattr(getattr(predictor, "_model_impl", None), "sklearn_model", None)


def plain_columns(schema: Any) -> list[Column] | None:
    """Give name and type of a signature's columns; `None` unless all are required, named and of a plain type."""
    if schema is None or not all(isinstance(one, ColSpec) and one.required and one.name for one in schema.inputs):
        return None
    columns = [(one.name, one.type) for one in schema.inputs]
    known = all(isinstance(kind, DataType) and kind in PLAIN_TYPES for _, kind in columns)
    return columns if columns and known and len({name for name, _ in columns}) == len(columns) else None


def type_names(columns: Sequence[Column]) -> tuple[tuple[str, str], ...]:
    """Give name and type name of columns, for those who do not know MLflow's types."""
    return tuple((name, kind.name) for name, kind in columns)


def frame_of(rows: Any, columns: Sequence[Column]) -> pd.DataFrame:
    """Make the data frame that MLflow would give the model, from tuples or a matrix (rows, columns)."""
    values = rows.T if isinstance(rows, np.ndarray) else zip(*rows, strict=True)
    return pd.DataFrame(
        {
            name: np.array(value, dtype=object if kind is DataType.string else kind.to_numpy())
            for (name, kind), value in zip(columns, values, strict=True)
        }
    )


def original(model: Any, columns: Sequence[Column]) -> Callable[[Any], NDArray[Any]]:
    """Ask the model itself: gives a function from rows to one value a row.

    Raises (the function):
        TypeError: The predictions are not one plain value a row.
    """

    def compute(rows: Any) -> NDArray[Any]:
        predictions = model.predict(frame_of(rows, columns))
        if not isinstance(predictions, np.ndarray) or predictions.ndim != 1 or predictions.dtype.kind not in _WRITABLE:
            raise TypeError("its predictions are not one plain value a row")
        return predictions

    return compute
