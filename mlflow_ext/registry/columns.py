"""Which columns of a frame a model takes, by its signature."""

from typing import Any

import pandas as pd

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
