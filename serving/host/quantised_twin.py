"""A version's quantised twin as an engine: it answers only by leave of its promotion's gate, and other than the model.

The gate is in `mlflow_ext/registry/twins/quantising.py`; here only the form of its answers is looked at. The twin that
answers as the model does: `onnx_engine.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_ext.domain.twins import TwinRefusedError
from mlflow_ext.registry.plain_table import Column, type_names
from serving.kernels import Kernel
from serving.twin_kernel import TwinKernel

ENGINE = "onnx-int8"


class OfferedQuantisedTwin:
    """A version's quantised twin; remembers why it does not answer."""

    def __init__(self, find: Callable[[], bytes]) -> None:
        """Take what gives the ONNX graph, or raises `TwinRefusedError`."""
        self._find = find
        self.refused: str | None = None

    def compiled(
        self, columns: Sequence[Column], known: Any, rows: Sequence[tuple[Any, ...]], original: Kernel
    ) -> tuple[TwinKernel, list[tuple[Any, ...]]] | None:
        """Give what computes, and the rows that it takes; `None` where it is refused.

        Args:
            columns: The model's columns.
            known: Values that the original does not refuse.
            rows: Trial rows.
            original: The model's own answers.
        """
        try:
            compute = TwinKernel(self._find(), type_names(columns), known, quantised=True)
            mine = [row for row in rows if compute.session.takes(row)]
            compute.dtype = original(mine[:1]).dtype.str
            _check_form(compute(mine), len(mine))
        except TwinRefusedError as exc:
            self.refuse(str(exc))
            return None
        # the runtime raises what it likes; the unquantised twin still answers
        except Exception as exc:
            self.refuse(f"it cannot be run: {type(exc).__name__}: {' '.join(str(exc).split())[:200]}")
            return None
        return compute, mine

    def refuse(self, reason: str) -> None:
        """Remember why it does not answer."""
        self.refused = reason


def _check_form(answers: NDArray[Any], rows: int) -> None:
    if answers.shape != (rows,) or (answers.dtype.kind == "f" and not np.isfinite(answers).all()):
        raise TwinRefusedError("it does not give one value a row")
