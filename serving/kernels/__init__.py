"""Compiled kernels: what a fitted scikit-learn model computes, without its checks. One kind of model a file.

A kernel is used only after it gave the same answers as the original, bit for bit (`serving/plan.py`). Which requests
reach a kernel at all is decided there too; MLflow's protocol lives in `codecs/`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.kernels.forest import forest_kernel
from serving.kernels.linear import linear_kernel
from serving.kernels.table import NotInTrainingError, table_kernel

__all__ = ["Kernel", "NotInTrainingError", "Rows", "compile_kernels"]

Rows = Sequence[tuple[Any, ...]] | NDArray[np.float64]
"""Rows of a request, one value a column, in the signature's order; as a matrix (rows, columns) where all are floats."""
Kernel = Callable[[Rows], NDArray[Any]]
Estimator = Callable[[NDArray[np.float64]], NDArray[Any]]

_ESTIMATORS: tuple[Callable[[Any], Estimator | None], ...] = (linear_kernel, forest_kernel)


def compile_kernels(model: Any, columns: Sequence[str]) -> Iterator[Kernel]:
    """Compile a fitted scikit-learn model for rows with these columns; nothing for models that we have no kernel for.

    Args:
        model: The estimator or pipeline.
        columns: Input columns in the order of the rows' values.

    Yields:
        Kernels that differ in how the matrix lies in memory, by row or by column, on which the rounding of a matrix
        product depends.
    """
    steps = [step for _, step in getattr(model, "steps", [("", model)]) if step not in (None, "passthrough")]
    if not steps:
        return
    table = table_kernel(steps[:-1], columns)
    estimator = next((made for make in _ESTIMATORS if (made := make(steps[-1])) is not None), None)
    if table is None or estimator is None:
        return
    yield lambda rows: estimator(np.ascontiguousarray(table(rows)))
    yield lambda rows: estimator(np.asfortranarray(table(rows)))
