"""Converter for imputers: rows with missing values never come to a twin, so there is nothing to fill in."""

from typing import Any

import numpy as np
from skl2onnx.operator_converters.common import concatenate_variables
from sklearn.impute import SimpleImputer

from mlflow_ext.registry.twins.trees import NotConvertibleError


def imputer(scope: Any, operator: Any, container: Any) -> None:
    """Hand the columns on (ONNX Runtime has no imputer in double precision, skl2onnx none for texts)."""
    model: SimpleImputer = operator.raw_operator
    missing, learnt = model.missing_values, model.statistics_
    if not (missing is None or (isinstance(missing, float) and np.isnan(missing))):
        raise NotConvertibleError(f"its imputer takes {missing!r} for missing")
    if model.add_indicator or any(isinstance(one, float) and np.isnan(one) for one in learnt.tolist()):
        raise NotConvertibleError("its imputer adds or drops columns")
    rows = concatenate_variables(scope, operator.inputs, container)
    name = scope.get_unique_operator_name("Identity")
    container.add_node("Identity", rows, operator.outputs[0].full_name, name=name)
