"""Linear models: one matrix product. What is done to the columns before it is in `table.py`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLASSIFIERS = ("LogisticRegression", "RidgeClassifier", "SGDClassifier", "LinearSVC")
_REGRESSORS = ("LinearRegression", "Ridge", "Lasso", "ElasticNet")


@dataclass(frozen=True, slots=True)
class LinearValue:
    """A weighted sum: from a matrix (rows, columns) to values (rows)."""

    weights: NDArray[np.float64]
    offset: float

    def __call__(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Compute."""
        found: NDArray[Any] = matrix @ self.weights + self.offset
        return found


@dataclass(frozen=True, slots=True)
class LinearSide:
    """One of two labels, by the side of a plane: from a matrix (rows, columns) to labels (rows)."""

    classes: NDArray[Any]
    plane: NDArray[np.float64]
    offset: float

    def __call__(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Compute."""
        found: NDArray[Any] = self.classes[(matrix @ self.plane + self.offset > 0).view(np.int8)]
        return found


@dataclass(frozen=True, slots=True)
class LinearLargest:
    """The label with the largest score: from a matrix (rows, columns) to labels (rows)."""

    classes: NDArray[Any]
    planes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    def __call__(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Compute."""
        found: NDArray[Any] = self.classes[np.argmax(matrix @ self.planes + self.offsets, axis=1)]
        return found


def linear_kernel(model: Any) -> LinearValue | LinearSide | LinearLargest | None:
    """Compile a linear classifier or regressor; `None` for anything else."""
    # only where models are loaded; a process that computes needs no scikit-learn
    from sklearn import linear_model, svm

    def kinds(names: tuple[str, ...]) -> tuple[type, ...]:
        return tuple(getattr(linear_model, name, None) or getattr(svm, name) for name in names)

    # exact types: a subclass may compute something else
    is_regressor = type(model) in kinds(_REGRESSORS)
    if not is_regressor and type(model) not in kinds(_CLASSIFIERS):
        return None
    weights = np.ascontiguousarray(np.asarray(model.coef_, dtype=np.float64))
    if is_regressor:
        if weights.ndim != 1:
            return None
        return LinearValue(weights, float(np.asarray(model.intercept_).reshape(-1)[0]))
    classes = np.asarray(model.classes_)
    intercept = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    if len(weights) == 1 and len(classes) == 2:
        return LinearSide(classes, weights[0], float(intercept[0]) if len(intercept) else 0.0)
    # as the transpose of what lies in memory by rows: on how it lies depends the rounding of the product
    return LinearLargest(classes, weights.T, intercept)
