"""Linear models: one matrix product. What is done to the columns before it is in `table.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.svm import LinearSVC

# exact types: a subclass may compute something else
_CLASSIFIERS = (LogisticRegression, RidgeClassifier, SGDClassifier, LinearSVC)
_REGRESSORS = (LinearRegression, Ridge, Lasso, ElasticNet)


def linear_kernel(model: Any) -> Callable[[NDArray[np.float64]], NDArray[Any]] | None:
    """Compile a linear classifier or regressor; `None` for anything else.

    Returns:
        From a matrix (rows, columns) to labels or values (rows).
    """
    if type(model) not in (*_CLASSIFIERS, *_REGRESSORS):
        return None
    weights = np.ascontiguousarray(np.asarray(model.coef_, dtype=np.float64))
    if type(model) in _REGRESSORS:
        if weights.ndim != 1:
            return None
        value = float(np.asarray(model.intercept_).reshape(-1)[0])
        return lambda matrix: matrix @ weights + value
    classes = np.asarray(model.classes_)
    intercept = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    if len(weights) == 1 and len(classes) == 2:
        plane, offset = weights[0], intercept[0] if len(intercept) else 0.0
        return lambda matrix: classes[(matrix @ plane + offset > 0).view(np.int8)]
    planes = weights.T
    return lambda matrix: classes[np.argmax(matrix @ planes + intercept, axis=1)]
