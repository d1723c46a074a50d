"""A twin that can be asked: ONNX Runtime with one thread, imported only when there is a twin to run.

Imports nothing of what models need, since scoring processes use it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

KnownValues = Mapping[int, frozenset[Any]]
"""By the position of a column, the values that the original does not refuse."""

LARGEST = 1e15
"""scikit-learn's trees refuse what single precision does not hold (3.4e38), also when it was a scaler, a power or a
product before them that made it so large; and integers beyond 2**53 may be others as floating-point numbers."""
MATRIX = "rows"
"""Name of the input of a twin that takes all columns at once."""


class NotForTwinError(ValueError):
    """A value that only the original knows what to do with."""


class TwinSession:
    """Answers rows by a twin's graph; any number of threads may ask."""

    def __init__(
        self, content: bytes, columns: Sequence[tuple[str, str]], known: KnownValues, *, quantised: bool = False
    ) -> None:
        """Load a graph.

        Args:
            content: The graph, complete (it may not refer to other files).
            columns: Name and MLflow type name of each value of a row.
            known: Values that the original does not refuse.
            quantised: Whether its matrix products are 8-bit ones.

        Raises:
            Exception: Whatever ONNX Runtime raises of a graph that it cannot run.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # one worker process a core already; and memory of large batches is given back
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content,
            sess_options=options,
            providers=["CPUExecutionProvider"],
            # it would join products and sums before it sees that the products are 8-bit ones: 25 times slower
            disabled_optimizers=["MatMulAddFusion"] if quantised else None,
        )
        inputs = self._session.get_inputs()
        self._by_column = [one.name for one in inputs] != [MATRIX]
        self._precision = np.float32 if any(one.type == "tensor(float)" for one in inputs) else np.float64
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._columns = list(columns)
        self._known = known
        self._rounded = [number for number, (_, kind) in enumerate(columns) if kind == "float"]

    @property
    def has_scores(self) -> bool:
        """Whether it gives class probabilities too."""
        return len(self._outputs) > 1

    def answers(self, rows: Any) -> NDArray[Any]:
        """Predict one value a row, in the graph's own type.

        Args:
            rows: Tuples, or a matrix (rows, columns).

        Raises:
            NotForTwinError: A value is not for the twin.
        """
        values: NDArray[Any] = self._session.run(self._outputs[:1], self.feed(rows))[0]
        return values.ravel()

    def scores(self, rows: Any) -> NDArray[np.float64]:
        """Give class probabilities, shape (rows, classes)."""
        return np.asarray(self._session.run(self._outputs[1:2], self.feed(rows))[0], dtype=np.float64)

    def takes(self, row: tuple[Any, ...]) -> bool:
        """Tell whether a row is one for the twin."""
        try:
            self.feed([row])
        except NotForTwinError:
            return False
        return True

    def feed(self, rows: Any) -> dict[str, NDArray[Any]]:
        """Give the graph's inputs for rows.

        Raises:
            NotForTwinError: A value is not for the twin.
        """
        if not self._by_column:
            matrix = np.array(rows, dtype=np.float64)
            if (np.abs(matrix) > LARGEST).any():
                raise NotForTwinError
            # MLflow makes single precision of them
            if self._rounded:
                matrix[:, self._rounded] = matrix[:, self._rounded].astype(np.float32)
            return {MATRIX: matrix.astype(self._precision, copy=False)}
        values = list(rows.T) if isinstance(rows, np.ndarray) else list(zip(*rows, strict=True))
        if any(not known.issuperset(values[position]) for position, known in self._known.items()):
            raise NotForTwinError
        return {name: self._column(kind, value) for (name, kind), value in zip(self._columns, values, strict=True)}

    def _column(self, kind: str, values: Sequence[Any]) -> NDArray[Any]:
        if kind == "string":
            # ONNX Runtime reads texts up to the first zero
            if any("\0" in one for one in values):
                raise NotForTwinError
            return np.array(values, dtype=object).reshape(-1, 1)
        column = np.array(values, dtype=np.float64).reshape(-1, 1)
        if (np.abs(column) > LARGEST).any():
            raise NotForTwinError
        if kind == "float":
            column = column.astype(np.float32)
        return column.astype(self._precision, copy=False)
