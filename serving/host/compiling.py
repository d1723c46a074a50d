"""Compiling a plan for a loaded model: which engine agrees with it, and do the answers agree with MLflow's.

A plan that gives another answer than MLflow on its trial requests is not used. What plans do with requests: `plan.py`.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from mlflow.types import DataType
from numpy.typing import NDArray

from mlflow_ext.registry.plain_table import Column, original, plain_columns, sklearn_model, type_names
from mlflow_ext.registry.trial_rows import trial_rows
from serving.host.onnx_engine import OfferedTwin, near, seconds
from serving.host.quantised_twin import ENGINE as QUANTISED
from serving.kernels import CompiledKernel, Kernel, Rows, compile_kernels
from serving.plan import CompiledPlan, Plan, plan_of, write
from serving.twin_kernel import TwinKernel

logger = logging.getLogger(__name__)

INLINE_S = 0.001
"""A twin that takes longer for 64 rows than this holds up the event loop for longer than a thread costs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Engine:
    name: str
    compute: Kernel
    rows: list[tuple[Any, ...]]

    @property
    def travels(self) -> CompiledKernel | TwinKernel | None:
        return self.compute if isinstance(self.compute, CompiledKernel | TwinKernel) else None

    @property
    def is_cheap(self) -> bool:
        twin = self.name in ("onnx", QUANTISED)
        return self.name == "kernel" or (twin and seconds(self.compute, self.rows[:64]) < INLINE_S)


@dataclass(frozen=True, slots=True, eq=False)
class PlanHere:
    """A compiled plan, and the same as it works where the model is.

    Attributes:
        compiled: What travels.
        plan: What answers here.
    """

    compiled: CompiledPlan
    plan: Plan


def compile_plan(
    predictor: Any,
    input_schema: Any,
    answer: Callable[[bytes], bytes | None],
    *,
    kernels: bool = True,
    twin: OfferedTwin | None = None,
) -> PlanHere | None:
    """Compile a plan for a loaded model, and try it against MLflow's answers.

    Args:
        predictor: MLflow's `PyFuncModel`.
        input_schema: MLflow's input schema, or `None`.
        answer: MLflow's answer to a JSON body; `None` where it refuses.
        kernels: Whether kernels may compute.
        twin: The ONNX twin that may.

    Returns:
        A plan whose answers were MLflow's on every trial request; `None` for a model without one.
    """
    model, columns = sklearn_model(predictor), plain_columns(input_schema)
    if model is None or columns is None or predictor.metadata.get_params_schema() is not None:
        if twin is not None:
            twin.refuse("only models that have plans have twins: scikit-learn's, with required columns of plain types")
        return None
    rows = trial_rows(model, columns)
    ask = original(model, columns)
    for engine in _engines(model, columns, rows, ask, kernels, twin):
        compute, mine = engine.compute, engine.rows
        try:
            if engine.name == "kernel" and not _same(compute(mine), ask(mine)):
                logger.debug("event=kernel_refused reason='another answer than the original' model=%s", type(model))
                continue
            names = type_names(columns)
            compiled = CompiledPlan(names, engine.name, engine.travels, _may_batch(compute, mine), engine.is_cheap)
            plan = plan_of(compiled, compute)
            tolerance = twin.tolerance if engine.name == "onnx" and twin is not None else 0.0
            # what a quantised twin may lose, its promotion's gate has judged
            agree = _alike if engine.name == QUANTISED else partial(_equal, tolerance=tolerance)
            if _answers_as_mlflow(plan, mine, answer, agree):
                return PlanHere(compiled, plan)
            reason = "another answer than MLflow"
        # the model's own code runs here, on rows of our making: whatever it raises, MLflow's way still works
        except Exception as exc:
            reason = str(exc)[:200]
        logger.info("event=plan_refused engine=%s reason=%r", engine.name, reason)
        if twin is not None and engine.name in ("onnx", QUANTISED):
            twin.refuse(reason, quantised=engine.name == QUANTISED)
    return None


def _engines(
    model: Any,
    columns: list[Column],
    rows: list[tuple[Any, ...]],
    ask: Kernel,
    kernels: bool,
    twin: OfferedTwin | None,
) -> Iterator[_Engine]:
    """Give what may compute, best first, each with the trial rows that it takes; nothing is made before it is asked."""

    def by_twin() -> Iterator[_Engine]:
        small = twin.quantised(model, columns, rows, ask) if twin is not None else None
        if small is not None:
            yield _Engine(QUANTISED, *small)
        found = twin.compiled(model, columns, rows, ask) if twin is not None else None
        if found is not None:
            yield _Engine("onnx", *found)

    wanted = twin is not None and twin.wanted
    if wanted:
        yield from by_twin()
    # MLflow rounds values of type float to single precision; a kernel computes in double precision
    if kernels and all(kind is not DataType.float for _, kind in columns):
        for kernel in compile_kernels(model, [name for name, _ in columns]):
            yield _Engine("kernel", kernel, rows)
    if not wanted:
        yield from by_twin()
    yield _Engine("python", ask, rows)


def _same(some: NDArray[Any], others: NDArray[Any]) -> bool:
    return some.dtype == others.dtype and some.shape == others.shape and bool((some == others).all())


def _may_batch(compute: Kernel, rows: Rows) -> bool:
    """Tell whether a row's answer hangs on the rows beside it, even in its last bit (matrix products may round so)."""
    some = rows[:256]
    alone = np.concatenate([compute([row]) for row in some])
    return _same(compute(some), alone) and _same(compute(rows)[: len(some)], alone)


def _answers_as_mlflow(
    plan: Plan, rows: Rows, answer: Callable[[bytes], bytes | None], agree: Callable[[Any, Any], bool]
) -> bool:
    for some in (rows[:1], rows[1:4], rows[:64]):
        data = {"columns": plan.columns, "data": some}
        records = [dict(zip(plan.columns, row, strict=True)) for row in some]
        for document in ({"dataframe_split": data}, {"dataframe_records": records}):
            body = json.dumps(document).encode()
            theirs = answer(body)
            read = plan.rows(body)
            ours = None if read is None else plan.predict(read)
            if theirs is None or ours is None or not agree(json.loads(theirs), json.loads(write(ours))):
                return False
    return True


def _alike(theirs: Any, ours: Any) -> bool:
    """Tell whether answers are of the same form."""
    kinds = [[type(one) for one in side["predictions"]] for side in (theirs, ours)]
    return kinds[0] == kinds[1]


def _equal(theirs: Any, ours: Any, tolerance: float) -> bool:
    if theirs == ours:
        return True
    numbers = theirs["predictions"], ours["predictions"]
    if not all(isinstance(one, float) for side in numbers for one in side):
        return False
    return near(np.array(numbers[1]), np.array(numbers[0]), tolerance)
