"""Compiled kernels: what a fitted scikit-learn model computes, without its checks. One kind of model a file.

A kernel is used only after it gave the same answers as the original, bit for bit (`serving/host/compiling.py`). Kernels
are compiled in the model host, where scikit-learn is, and travel to the scoring processes, which have NumPy only.
Which requests reach a kernel at all is decided in `serving/plan.py`; MLflow's protocol lives in `codecs/`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.kernels.forest import ForestLabel, ForestValue, forest_kernel
from serving.kernels.linear import LinearLargest, LinearSide, LinearValue, linear_kernel
from serving.kernels.table import MixedTable, NotInTrainingError, PlainTable, table_kernel

__all__ = ["CompiledKernel", "Kernel", "NotInTrainingError", "Rows", "compile_kernels"]

Rows = Sequence[tuple[Any, ...]] | NDArray[np.float64]
"""Rows of a request, one value a column, in the signature's order; as a matrix (rows, columns) where all are floats."""
Kernel = Callable[[Rows], NDArray[Any]]
Estimator = LinearValue | LinearSide | LinearLargest | ForestValue | ForestLabel


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """What a pipeline computes.

    Attributes:
        table: From rows to the matrix that the estimator takes.
        by_column: How the matrix lies in memory, on which the rounding of a matrix product depends.
        estimator: From the matrix to labels or values.
    """

    table: PlainTable | MixedTable
    by_column: bool
    estimator: Estimator

    def __call__(self, rows: Rows) -> NDArray[Any]:
        """Predict rows.

        Raises:
            NotInTrainingError: Only the original can say what to do with them.
        """
        matrix = self.table(rows)
        return self.estimator(np.asfortranarray(matrix) if self.by_column else np.ascontiguousarray(matrix))

    @property
    def few_rows(self) -> int | None:
        """Rows up to which this is the best way to compute; `None` for any number."""
        return self.estimator.nodes.few_rows if isinstance(self.estimator, ForestValue | ForestLabel) else None


def compile_kernels(model: Any, columns: Sequence[str]) -> Iterator[CompiledKernel]:
    """Compile a fitted scikit-learn model for rows with these columns; nothing for models that we have no kernel for.

    Args:
        model: The estimator or pipeline.
        columns: Input columns in the order of the rows' values.

    Yields:
        Kernels that differ in how the matrix lies in memory, by row or by column.
    """
    steps = [step for _, step in getattr(model, "steps", [("", model)]) if step not in (None, "passthrough")]
    if not steps:
        return
    table = table_kernel(steps[:-1], columns)
    estimator = linear_kernel(steps[-1]) or forest_kernel(steps[-1])
    if table is None or estimator is None:
        return
    for by_column in (False, True):
        yield CompiledKernel(table, by_column, estimator)
