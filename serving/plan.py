"""A plan: how one loaded version answers usual requests without pandas, compiled once when it is loaded.

A plan knows some requests **exactly** (a JSON table with the signature's columns, every value of its column's type) and
answers them as MLflow would; for everything else it gives `None`, and MLflow's own code answers, in the model host.
Plans are compiled there (`host/compiling.py`) and travel as `CompiledPlan`; nothing here imports what models need.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.json_numbers import read_matrix
from serving.kernels import CompiledKernel, Kernel, NotInTrainingError, Rows
from serving.twin_kernel import TwinKernel

JSON_TYPES = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
_KINDS: dict[str, Any] = {
    "double": float,
    "float": float,
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "string": str,
    "boolean": bool,
}
MANY_BYTES = 2_048
"""Bodies of numbers longer than this are read into a matrix at once; for shorter ones tuples are cheaper (measured)."""


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A plan on its way from the model host to a scoring process.

    Attributes:
        columns: Name and MLflow type name of the input columns, in the signature's order.
        engine: `kernel` (compiled), `onnx` (the twin), `onnx-int8` (the quantised twin) or `python` (the
            original model).
        compute: What computes; `None` for the original model, which stays in the host.
        batches: Whether rows of several requests may be computed together without changing a bit of their answers.
        inline: Whether it is cheap enough to be computed on the event loop.
    """

    columns: tuple[tuple[str, str], ...]
    engine: str
    compute: CompiledKernel | TwinKernel | None
    batches: bool
    inline: bool


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
        apart: From rows to predictions in the model host; `None` for rows that only MLflow's code knows, and as a
            whole where everything is computed here.
        few_rows: Rows up to which `compute` is used although there is `apart`.
        kinds: Name and MLflow type name of the input columns.
    """

    columns: tuple[str, ...]
    compute: Kernel
    batches: bool
    engine: str
    inline: bool
    numeric: bool
    _decode: Callable[[bytes], Any]
    _row_of: Callable[[Any], tuple[Any, ...]]
    apart: Callable[[Rows], Awaitable[NDArray[Any] | None]] | None = None
    few_rows: int = 0
    kinds: tuple[tuple[str, str], ...] = ()

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

    def goes_apart(self, rows: int) -> bool:
        """Tell whether so many rows are computed in the model host."""
        return self.apart is not None and rows > self.few_rows

    def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Predict rows here; `None` when only the original can say what to do with them."""
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


def plan_of(
    compiled: CompiledPlan,
    compute: Kernel,
    apart: Callable[[Rows], Awaitable[NDArray[Any] | None]] | None = None,
    few_rows: int = 0,
) -> Plan:
    """Make a plan of what was compiled, with the decoders for just these columns.

    Args:
        compiled: The compiled plan.
        compute: What computes here.
        apart: What computes in the model host.
        few_rows: As for `Plan`.
    """
    kinds = [_KINDS[kind] for _, kind in compiled.columns]
    names = tuple(name for name, _ in compiled.columns)
    split = msgspec.defstruct(
        "Split",
        [("columns", tuple[str, ...]), ("data", list[tuple[tuple(kinds)]])],  # type: ignore[misc]
        forbid_unknown_fields=True,
    )
    fields = [f"c{number}" for number in range(len(names))]
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
    numeric = all(kind == "double" for _, kind in compiled.columns)
    decode = msgspec.json.Decoder(body).decode
    return Plan(
        *(names, compute, compiled.batches, compiled.engine, compiled.inline, numeric, decode),
        _row_of=msgspec.structs.astuple,
        apart=apart,
        few_rows=few_rows,
        kinds=compiled.columns,
    )
