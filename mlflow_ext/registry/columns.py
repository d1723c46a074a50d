"""A model's columns by MLflow's signature: which of a frame's it takes, and all of them in words of ours."""

from typing import Any

import pandas as pd
from mlflow.types import DataType, Schema, TensorSpec

from mlflow_ext.domain.signature import Column, Signature
from mlflow_ext.errors import EvaluationImpossibleError


def features(model: Any, frame: pd.DataFrame, target: str | None, named: str, source: str) -> list[str]:
    """Choose the columns a model takes, in its own order; all but the target where it has no named columns.

    Raises:
        EvaluationImpossibleError: Columns that it needs are missing.
    """
    schema = model.metadata.get_input_schema()
    if schema is None or not schema.has_input_names():
        return [column for column in frame.columns if column != target]
    missing = [name for name in schema.required_input_names() if name not in frame.columns]
    if missing:
        raise EvaluationImpossibleError(
            f"the evaluation data {source} lacks columns that {named} needs: {', '.join(missing)}"
        )
    return [name for name in schema.input_names() if name in frame.columns]


def signature(model: Any) -> Signature | None:
    """Read what a model takes and gives; `None` where it was logged without a signature."""
    found = model.metadata.signature
    if found is None or found.inputs is None:
        return None
    return Signature(_columns(found.inputs), _columns(found.outputs) if found.outputs is not None else ())


def _columns(schema: Schema) -> tuple[Column, ...]:
    columns = []
    for position, spec in enumerate(schema.inputs):
        if isinstance(spec, TensorSpec):
            kind = f"tensor({spec.type}, {spec.shape})"
        else:
            kind = spec.type.name if isinstance(spec.type, DataType) else str(spec.type)
        required = bool(getattr(spec, "required", True))
        columns.append(Column(str(position) if spec.name is None else str(spec.name), kind, required))
    return tuple(columns)
