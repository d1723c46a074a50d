"""A twin with 8-bit matrix products, and its own gate: how much worse than the unquantised is it on evaluation rows?

Quantising is ONNX Runtime's own (static: scales are fixed from calibration rows, so a row's answer does not hang on the
rows beside it). Comparing the unquantised twin with the model is in `making.py`, keeping both in `judging.py`.
"""

import hashlib
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score, recall_score

from mlflow_ext.domain.twins import QuantisedFacts, TwinRefusedError
from mlflow_ext.registry.plain_table import original, plain_columns, sklearn_model, type_names
from mlflow_ext.registry.twins.bounds import known_values
from mlflow_ext.registry.twins.session import TwinSession
from mlflow_ext.registry.twins.single_precision import narrowed

FEWEST_ROWS = 100
"""Fewer judged rows say too little about a loss."""
CALIBRATION_SHARE = 4
"""Each fourth evaluation row gives scales; the others judge."""
MOST_CALIBRATION_ROWS = 1_000
MOST_JUDGED_ROWS = 20_000
_BATCH = 250
_PRODUCTS = ("MatMul", "Gemm")
_TRIES = 7


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised twin that passed its gate.

    Attributes:
        content: The ONNX graph.
        facts: What is kept about it.
    """

    content: bytes
    facts: QuantisedFacts


def quantise_twin(predictor: Any, content: bytes, rows: pd.DataFrame, target: str, bound: float) -> Quantised:
    """Quantise a twin, and compare it with the unquantised one on evaluation rows.

    Args:
        predictor: MLflow's `PyFuncModel`.
        content: The unquantised twin, which agreed with the model.
        rows: Evaluation rows with their ground truth.
        target: Name of the ground truth's column.
        bound: The most that a measure may lose (`serving.quantise_loss`).

    Raises:
        TwinRefusedError: There is nothing to quantise, nothing is gained, or too much is lost.
    """
    model = sklearn_model(predictor)
    columns = plain_columns(predictor.metadata.get_input_schema())
    if model is None or columns is None:
        raise TwinRefusedError("only twins of scikit-learn models are quantised")
    names = [name for name, _ in columns]
    known = known_values(model, names)
    plain = TwinSession(content, type_names(columns), known)
    whole = rows[[*names, target]].dropna()
    tuples = list(whole[names].astype(object).itertuples(index=False, name=None))
    # the others are the model's own to answer, with or without a twin
    mine = [number for number, row in enumerate(tuples) if plain.takes(row)]
    calibration = [tuples[number] for number in mine[::CALIBRATION_SHARE]][:MOST_CALIBRATION_ROWS]
    judging = [number for place, number in enumerate(mine) if place % CALIBRATION_SHARE][:MOST_JUDGED_ROWS]
    if len(judging) < FEWEST_ROWS:
        raise TwinRefusedError(f"{len(judging)} evaluation rows are too few to judge it: {FEWEST_ROWS} are needed")
    try:
        small = quantised(content, lambda graph: TwinSession(graph, type_names(columns), known), calibration)
        session = TwinSession(small, type_names(columns), known, quantised=True)
    except TwinRefusedError:
        raise
    # the tool and the runtime raise errors of every kind for graphs that they do not know
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200]
        raise TwinRefusedError(f"it cannot be quantised: {type(exc).__name__}: {reason}") from exc
    if len(small) >= len(content):
        raise TwinRefusedError(f"nothing is gained: {len(small)} bytes instead of {len(content)}")
    judged = [tuples[number] for number in judging]
    kind = original(model, columns)(judged[:1]).dtype
    truth = whole[target].to_numpy()[judging]
    labels = hasattr(model, "classes_") or kind.kind != "f"
    before, after = (one.answers(judged).astype(kind) for one in (plain, session))
    facts = QuantisedFacts(
        sha256=hashlib.sha256(small).hexdigest(),
        size_bytes=len(small),
        rows=len(judged),
        calibration_rows=len(calibration),
        bound=bound,
        unquantised=_measures(truth, before, labels=labels),
        quantised=_measures(truth, after, labels=labels),
        changed=float((before != after).mean()) if labels else _distance(before, after, truth),
        unquantised_us=_microseconds(plain, judged),
        quantised_us=_microseconds(session, judged),
    )
    refusal = facts.refusal(bound)
    if refusal:
        raise TwinRefusedError(refusal)
    return Quantised(small, facts)


def quantised(content: bytes, session: Any, calibration: Sequence[tuple[Any, ...]]) -> bytes:
    """Quantise a graph's products with constant matrices.

    Args:
        content: The graph.
        session: Gives a `TwinSession` of a graph: it knows how rows become the graph's inputs.
        calibration: Rows from which the scales are taken.

    Raises:
        TwinRefusedError: There is no such product.
        Exception: Whatever the tool raises.
    """
    graph = narrowed(content)
    constants = {one.name for one in graph.graph.initializer if len(one.dims) == 2}
    if not any(node.op_type in _PRODUCTS and constants & set(node.input) for node in graph.graph.node):
        raise TwinRefusedError("there is nothing to quantise: it has no product with a constant matrix")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    feed = session(graph.SerializeToString()).feed
    feeds = iter([feed(calibration[first : first + _BATCH]) for first in range(0, len(calibration), _BATCH)])

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # the tool has no types
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory(prefix="mlflow-ext-twin-") as scratch, _silent():
        inferred, into = Path(scratch, "inferred.onnx"), Path(scratch, "quantised.onnx")
        quant_pre_process(graph, str(inferred), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            *(str(inferred), str(into), Rows()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            # 7 bits: processors without VNNI would saturate at 8, and answer otherwise than this one
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": list(_PRODUCTS)},
        )
        found = onnx.load(str(into))
    return bytes(found.SerializeToString())


def _measures(truth: NDArray[Any], answers: NDArray[Any], *, labels: bool) -> dict[str, float]:
    """Measure answers; more is better, and 1 the most."""
    if not labels:
        return {"r2": float(r2_score(truth.astype(np.float64), answers))}
    # of classes that are rare, accuracy says nothing
    recall = recall_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)
    return {"accuracy": float(accuracy_score(truth, answers)), "macro_recall": float(recall)}


def _distance(before: NDArray[Any], after: NDArray[Any], truth: NDArray[Any]) -> float:
    spread = float(np.std(truth.astype(np.float64))) or 1.0
    return float(np.abs(after - before).max() / spread)


def _microseconds(session: TwinSession, rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Measure how long a request of one row and one of many take, as the median of a few."""
    found = {}
    for count in (1, 64):
        some, taken = rows[:count], []
        for _ in range(_TRIES):
            began = time.perf_counter()
            session.answers(some)
            taken.append(time.perf_counter() - began)
        found[str(len(some))] = round(statistics.median(taken) * 1e6, 1)
    return found


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the tool from the root logger, to which it gives advice about graphs that are not photographs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
