"""A version's ONNX twin as a kernel: travels as the graph, and runs by ONNX Runtime wherever it arrives.

Whether a twin may answer at all is decided where plans are compiled (`onnx_engine.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.kernels import NotInTrainingError, Rows


class TwinKernel:
    """Computes by a twin's graph."""

    def __init__(
        self,
        content: bytes,
        columns: tuple[tuple[str, str], ...],
        known: Mapping[int, frozenset[Any]],
        dtype: str | None = None,
        *,
        quantised: bool = False,
    ) -> None:
        """Load a graph.

        Args:
            content: The graph.
            columns: Name and MLflow type name of each value of a row.
            known: Values that the original does not refuse, by the position of their column.
            dtype: NumPy's name for the type of the original's answers; `None` for the graph's own.
            quantised: Whether its matrix products are 8-bit ones.
        """
        # imports what only twins need
        from mlflow_ext.registry.twins.session import NotForTwinError, TwinSession

        self._quantised = quantised
        self._made_of = content, columns, dict(known)
        self.session = TwinSession(content, columns, known, quantised=quantised)
        self.dtype = dtype
        self._not_for_twin = NotForTwinError

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the graph."""
        return _arrived, (*self._made_of, self.dtype, self._quantised)

    def __call__(self, rows: Rows) -> NDArray[Any]:
        """Predict rows.

        Raises:
            NotInTrainingError: Only the original can say what to do with them.
        """
        try:
            answers = self.session.answers(rows)
        except self._not_for_twin:
            raise NotInTrainingError from None
        return answers if self.dtype is None else answers.astype(np.dtype(self.dtype), copy=False)


def _arrived(
    content: bytes,
    columns: tuple[tuple[str, str], ...],
    known: Mapping[int, frozenset[Any]],
    dtype: str | None,
    quantised: bool,
) -> TwinKernel:
    return TwinKernel(content, columns, known, dtype, quantised=quantised)
