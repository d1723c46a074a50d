"""One version's ONNX twin as an engine: fetched when a plan asks for it, tried against the original, or refused.

Where twins come from is `twins.py`; what else may answer, and in which order, `compiling.py`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_ext.domain.twins import TwinNotMadeError, TwinRefusedError
from mlflow_ext.registry.plain_table import Column, type_names
from serving.host.quantised_twin import OfferedQuantisedTwin
from serving.kernels import Kernel, Rows
from serving.twin_kernel import TwinKernel

_TRIES = 5
_FASTER = 0.8
"""A twin has to answer within this part of the original's time."""


class OfferedTwin:
    """A version's twin, if it is worth having; remembers why it is not."""

    def __init__(
        self,
        find: Callable[[], bytes],
        tolerance: float,
        *,
        wanted: bool = False,
        quantised: OfferedQuantisedTwin | None = None,
    ) -> None:
        """Take where it comes from.

        Args:
            find: Gives the ONNX graph, or raises `TwinRefusedError`.
            tolerance: By how much a regressor's answers may differ (`serving.onnx_tolerance`).
            wanted: Policy asks for it by name: it goes before kernels, and need not be faster than the original.
            quantised: The quantised twin, where policy wants one before this.
        """
        self._find = find
        self.tolerance = tolerance
        self.wanted = wanted
        self._quantised = quantised
        self._refused: str | None = None
        self.later = False
        """Whether it is refused only because it has to be made first."""

    @property
    def refused(self) -> str | None:
        """Why it does not answer, or not quantised."""
        quantised = self._quantised.refused if self._quantised is not None else None
        said = [self._refused, None if quantised is None else f"quantised: {quantised}"]
        return "; ".join(one for one in said if one) or None

    def quantised(
        self, model: Any, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], original: Kernel
    ) -> tuple[TwinKernel, list[tuple[Any, ...]]] | None:
        """Give what computes with 8 bits, as `compiled` does; `None` where policy or the gate wants none."""
        if self._quantised is None:
            return None
        try:
            known = _known(model, columns)
        except TwinRefusedError as exc:
            self._quantised.refuse(str(exc))
            return None
        return self._quantised.compiled(columns, known, rows, original)

    def compiled(
        self, model: Any, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], original: Kernel
    ) -> tuple[TwinKernel, list[tuple[Any, ...]]] | None:
        """Give what computes, and the rows that it takes; `None` where it is refused.

        Args:
            model: The scikit-learn model.
            columns: Its columns.
            rows: Trial rows.
            original: The model's own answers.
        """
        try:
            known = _known(model, columns)
            compute = TwinKernel(self._find(), type_names(columns), known)
            mine = [row for row in rows if compute.session.takes(row)]
            wanted = original(mine)
            compute.dtype = wanted.dtype.str
            self._agree(compute(mine), wanted, labels=hasattr(model, "classes_"))
            if not self.wanted:
                _hurry(compute, original, mine)
        except TwinRefusedError as exc:
            self.refuse(str(exc))
            self.later = isinstance(exc, TwinNotMadeError)
            return None
        # the runtime and the model's own code raise what they like; the original still answers
        except Exception as exc:
            self.refuse(f"it cannot be run: {type(exc).__name__}: {' '.join(str(exc).split())[:200]}")
            return None
        return compute, mine

    def refuse(self, reason: str, *, quantised: bool = False) -> None:
        """Remember why it does not answer, or not quantised."""
        if quantised and self._quantised is not None:
            self._quantised.refuse(reason)
        else:
            self._refused = reason

    def _agree(self, answers: NDArray[Any], wanted: NDArray[Any], *, labels: bool) -> None:
        if labels or wanted.dtype.kind != "f":
            differing = int((answers != wanted).sum()) if answers.shape == wanted.shape else len(wanted)
            if differing:
                raise TwinRefusedError(f"{differing} of {len(wanted)} labels differ")
        elif not near(answers, wanted, self.tolerance):
            raise TwinRefusedError(f"its answers differ by more than onnx_tolerance {self.tolerance:g}")


def _known(model: Any, columns: Sequence[Column]) -> Any:
    from mlflow_ext.registry.twins.bounds import HiddenEncoderError, is_hopeless, known_values

    if is_hopeless(model):
        raise TwinRefusedError("it answers without looking at its rows")
    try:
        return known_values(model, [name for name, _ in columns])
    except HiddenEncoderError as exc:
        raise TwinRefusedError(str(exc)) from exc


def near(answers: NDArray[Any], wanted: NDArray[Any], tolerance: float) -> bool:
    """Tell whether numbers agree: relative to those above 1, else absolute."""
    if answers.shape != wanted.shape:
        return False
    return bool((np.abs(answers - wanted) <= tolerance * np.maximum(1.0, np.abs(wanted))).all())


def _hurry(compute: Kernel, original: Kernel, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make sure that a twin is worth its memory.

    Raises:
        TwinRefusedError: It is not faster than the original.
    """
    for some in (rows[:1], rows[:64]):
        mine, theirs = seconds(compute, some), seconds(original, some)
        if mine > _FASTER * theirs:
            raise TwinRefusedError(
                f"it is not faster: {mine * 1e6:.0f} µs instead of {theirs * 1e6:.0f} µs for {len(some)} rows"
            )


def seconds(compute: Kernel, rows: Rows) -> float:
    """Measure how long rows take, in the median of a few tries."""
    taken = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        compute(rows)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
