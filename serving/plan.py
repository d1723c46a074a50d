"""A plan: how one loaded version answers usual requests without pandas, compiled once when it is loaded.

A plan knows some requests **exactly** (a JSON table with the signature's columns, every value of its column's type) and
answers them as MLflow would; for everything else it gives `None`, and MLflow's own code answers
(`codecs/mlflow_protocol.py`). A plan that gives another answer than MLflow on its trial requests is not used.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from mlflow.types import DataType
from numpy.typing import NDArray

from mlflow_ext.registry.plain_table import Column, original, plain_columns, sklearn_model
from mlflow_ext.registry.trial_rows import trial_rows
from serving.json_numbers import read_matrix
from serving.kernels import Kernel, NotInTrainingError, Rows, compile_kernels
from serving.onnx_engine import OfferedTwin, near, seconds
from serving.quantised_twin import ENGINE as QUANTISED

logger = logging.getLogger(__name__)

JSON_TYPES = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
_KINDS: dict[DataType, Any] = {
    DataType.double: float,
    DataType.float: float,
    DataType.long: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    DataType.integer: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    DataType.string: str,
    DataType.boolean: bool,
}
INLINE_S = 0.001
"""A twin that takes longer for 64 rows than this holds up the event loop for longer than a thread costs."""
MANY_BYTES = 2_048
"""Bodies of numbers longer than this are read into a matrix at once; for shorter ones tuples are cheaper (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a version's usual requests need.

    Attributes:
        columns: Names of the input columns, in the signature's order.
        compute: From rows to predictions, one a row.
        batches: Whether rows of several requests may be computed together without changing a bit of their answers.
        engine: `kernel` (compiled), `onnx` (the twin), `onnx-int8` (the quantised twin) or `python` (the
            original model).
        inline: Whether it is cheap enough to be computed on the event loop.
        numeric: Whether all columns are of type double.
    """

    columns: tuple[str, ...]
    compute: Kernel
    batches: bool
    engine: str
    inline: bool
    numeric: bool
    _decode: Callable[[bytes], Any]
    _row_of: Callable[[Any], tuple[Any, ...]]

    def rows(self, body: bytes) -> Rows | None:
        """Read a JSON request body; `None` when it is not one that the plan knows exactly."""
        if self.numeric and len(body) > MANY_BYTES and (matrix := read_matrix(body, self.columns)) is not None:
            return matrix
        try:
            document = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        split, records = document.dataframe_split, document.dataframe_records
        if split is not msgspec.UNSET and records is msgspec.UNSET and split.columns == self.columns:
            return split.data or None
        if records is not msgspec.UNSET and records and split is msgspec.UNSET:
            return [self._row_of(record) for record in records]
        return None

    def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Predict rows; `None` when only the original can say what to do with them."""
        try:
            predictions = self.compute(rows)
        except NotInTrainingError:
            return None
        if predictions.dtype.kind == "f" and not np.isfinite(predictions).all():
            return None
        return predictions


def joined(parts: Sequence[Rows]) -> Rows:
    """Put the rows of several requests below each other."""
    if any(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    return [row for part in parts for row in part]


def write(predictions: NDArray[Any]) -> bytes:
    """Write an answer's body."""
    return b'{"predictions": ' + msgspec.json.encode(predictions.tolist()) + b"}"


def compile_plan(
    predictor: Any,
    input_schema: Any,
    answer: Callable[[bytes], bytes | None],
    *,
    kernels: bool = True,
    twin: OfferedTwin | None = None,
) -> Plan | None:
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
    for engine, compute, mine in _engines(model, columns, rows, ask, kernels, twin):
        try:
            if engine == "kernel" and not _same(compute(mine), ask(mine)):
                logger.debug("event=kernel_refused reason='another answer than the original' model=%s", type(model))
                continue
            plan = _plan(columns, compute, _may_batch(compute, mine), engine, _is_cheap(engine, compute, mine))
            tolerance = twin.tolerance if engine == "onnx" and twin is not None else 0.0
            # what a quantised twin may lose, its promotion's gate has judged
            agree = _alike if engine == QUANTISED else partial(_equal, tolerance=tolerance)
            if _answers_as_mlflow(plan, mine, answer, agree):
                return plan
            reason = "another answer than MLflow"
        # the model's own code runs here, on rows of our making: whatever it raises, MLflow's way still works
        except Exception as exc:
            reason = str(exc)[:200]
        logger.info("event=plan_refused engine=%s reason=%r", engine, reason)
        if twin is not None and engine in ("onnx", QUANTISED):
            twin.refuse(reason, quantised=engine == QUANTISED)
    return None


def _engines(
    model: Any,
    columns: list[Column],
    rows: list[tuple[Any, ...]],
    ask: Kernel,
    kernels: bool,
    twin: OfferedTwin | None,
) -> Iterator[tuple[str, Kernel, list[tuple[Any, ...]]]]:
    """Give what may compute, best first, each with the trial rows that it takes; nothing is made before it is asked."""

    def by_twin() -> Iterator[tuple[str, Kernel, list[tuple[Any, ...]]]]:
        small = twin.quantised(model, columns, rows, ask) if twin is not None else None
        if small is not None:
            yield (QUANTISED, *small)
        found = twin.compiled(model, columns, rows, ask) if twin is not None else None
        if found is not None:
            yield ("onnx", *found)

    wanted = twin is not None and twin.wanted
    if wanted:
        yield from by_twin()
    # MLflow rounds values of type float to single precision; a kernel computes in double precision
    if kernels and all(kind is not DataType.float for _, kind in columns):
        for kernel in compile_kernels(model, [name for name, _ in columns]):
            yield "kernel", kernel, rows
    if not wanted:
        yield from by_twin()
    yield "python", ask, rows


def _is_cheap(engine: str, compute: Kernel, rows: list[tuple[Any, ...]]) -> bool:
    return engine == "kernel" or (engine in ("onnx", QUANTISED) and seconds(compute, rows[:64]) < INLINE_S)


def _plan(columns: list[Column], compute: Kernel, batches: bool, engine: str, inline: bool) -> Plan:
    kinds = [_KINDS[kind] for _, kind in columns]
    names = tuple(name for name, _ in columns)
    split = msgspec.defstruct(
        "Split",
        [("columns", tuple[str, ...]), ("data", list[tuple[tuple(kinds)]])],  # type: ignore[misc]
        forbid_unknown_fields=True,
    )
    fields = [f"c{number}" for number in range(len(columns))]
    record = msgspec.defstruct(
        "Record",
        list(zip(fields, kinds, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
    )
    body = msgspec.defstruct(
        "Body",
        [
            # an absent key is not the same as null
            ("dataframe_split", split | msgspec.UnsetType, msgspec.UNSET),
            ("dataframe_records", list[record] | msgspec.UnsetType, msgspec.UNSET),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
    )
    numeric = all(kind is DataType.double for _, kind in columns)
    decode = msgspec.json.Decoder(body).decode
    return Plan(names, compute, batches, engine, inline, numeric, decode, msgspec.structs.astuple)


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
