"""A plan: how one loaded version answers usual requests without pandas, compiled once when it is loaded.

A plan knows some requests **exactly** (a JSON table with the signature's columns, every value of its column's type) and
answers them as MLflow would; for everything else it gives `None`, and MLflow's own code answers
(`codecs/mlflow_protocol.py`). A plan that gives another answer than MLflow on its trial requests is not used.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
from mlflow.types import ColSpec, DataType
from numpy.typing import NDArray

from serving.json_numbers import read_matrix
from serving.kernels import Kernel, NotInTrainingError, Rows, compile_kernels
from serving.trial_rows import trial_rows

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
_PLAIN = frozenset("biufUO")
"""Kinds of NumPy arrays whose values JSON can write."""

MANY_BYTES = 2_048
"""Bodies of numbers longer than this are read into a matrix at once; for shorter ones tuples are cheaper (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a version's usual requests need.

    Attributes:
        columns: Names of the input columns, in the signature's order.
        compute: From rows to predictions, one a row.
        batches: Whether rows of several requests may be computed together without changing a bit of their answers.
        engine: `kernel` (compiled) or `python` (the original model).
        numeric: Whether all columns are of type double.
    """

    columns: tuple[str, ...]
    compute: Kernel
    batches: bool
    engine: str
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


def compile_plan(predictor: Any, input_schema: Any, answer: Callable[[bytes], bytes | None]) -> Plan | None:
    """Compile a plan for a loaded model, and try it against MLflow's answers.

    Args:
        predictor: MLflow's `PyFuncModel`.
        input_schema: MLflow's input schema, or `None`.
        answer: MLflow's answer to a JSON body; `None` where it refuses.

    Returns:
        A plan whose answers were MLflow's on every trial request; `None` for a model without one.
    """
    model = getattr(getattr(predictor, "_model_impl", None), "sklearn_model", None)
    columns = _columns(input_schema)
    if model is None or columns is None or predictor.metadata.get_params_schema() is not None:
        return None
    # a model may be logged with another of its functions (`pyfunc_predict_fn="predict_proba"`)
    if predictor.metadata.flavors.get("python_function", {}).get("predict_fn", "predict") != "predict":
        return None
    names = [name for name, _ in columns]
    rows = trial_rows(model, columns)
    original = _original(model, columns)
    # MLflow rounds values of type float to single precision; a kernel computes in double precision
    single = any(kind is DataType.float for _, kind in columns)
    kernels = [] if single else [(kernel, "kernel") for kernel in compile_kernels(model, names)]
    for compute, engine in (*kernels, (original, "python")):
        try:
            if engine == "kernel" and not _same(compute(rows), original(rows)):
                logger.debug("event=kernel_refused reason='another answer than the original' model=%s", type(model))
                continue
            plan = _plan(columns, compute, _may_batch(compute, rows), engine)
            if _answers_as_mlflow(plan, rows, answer):
                return plan
        # the model's own code runs here, on rows of our making: whatever it raises, MLflow's way still works
        except Exception as exc:
            logger.info("event=plan_refused engine=%s reason=%r", engine, str(exc)[:200])
    return None


def _columns(schema: Any) -> list[tuple[str, DataType]] | None:
    if schema is None or not all(isinstance(one, ColSpec) and one.required and one.name for one in schema.inputs):
        return None
    columns = [(one.name, one.type) for one in schema.inputs]
    known = all(isinstance(kind, DataType) and kind in _KINDS for _, kind in columns)
    return columns if columns and known and len({name for name, _ in columns}) == len(columns) else None


def _plan(columns: list[tuple[str, DataType]], compute: Kernel, batches: bool, engine: str) -> Plan:
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
    return Plan(names, compute, batches, engine, numeric, msgspec.json.Decoder(body).decode, msgspec.structs.astuple)


def _original(model: Any, columns: list[tuple[str, DataType]]) -> Kernel:
    """Ask the model itself, with the data frame that MLflow would give it."""

    def compute(rows: Rows) -> NDArray[Any]:
        values = rows.T if isinstance(rows, np.ndarray) else zip(*rows, strict=True)
        frame = pd.DataFrame(
            {
                name: np.array(value, dtype=object if kind is DataType.string else kind.to_numpy())
                for (name, kind), value in zip(columns, values, strict=True)
            }
        )
        predictions = model.predict(frame)
        if not isinstance(predictions, np.ndarray) or predictions.ndim != 1 or predictions.dtype.kind not in _PLAIN:
            raise TypeError("its predictions are not one plain value a row")
        return predictions

    return compute


def _same(some: NDArray[Any], others: NDArray[Any]) -> bool:
    return some.dtype == others.dtype and some.shape == others.shape and bool((some == others).all())


def _may_batch(compute: Kernel, rows: Rows) -> bool:
    """Tell whether a row's answer hangs on the rows beside it, even in its last bit (matrix products may round so)."""
    some = rows[:256]
    alone = np.concatenate([compute([row]) for row in some])
    return _same(compute(some), alone) and _same(compute(rows)[: len(some)], alone)


def _answers_as_mlflow(plan: Plan, rows: Rows, answer: Callable[[bytes], bytes | None]) -> bool:
    for some in (rows[:1], rows[1:4], rows[:64]):
        data = {"columns": plan.columns, "data": some}
        records = [dict(zip(plan.columns, row, strict=True)) for row in some]
        for document in ({"dataframe_split": data}, {"dataframe_records": records}):
            body = json.dumps(document).encode()
            theirs = answer(body)
            read = plan.rows(body)
            ours = None if read is None else plan.predict(read)
            if theirs is None or ours is None or json.loads(theirs) != json.loads(write(ours)):
                logger.warning("event=plan_refused engine=%s reason='another answer than MLflow'", plan.engine)
                return False
    return True
