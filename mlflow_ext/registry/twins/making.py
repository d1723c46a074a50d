"""Making a twin: the model is converted and compared with the original; a twin that disagrees is none.

Imports skl2onnx and ONNX Runtime, which belong in a process that ends: evaluation, or `process.py`.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from mlflow_ext.domain.twins import TwinFacts, TwinRefusedError
from mlflow_ext.registry.plain_table import Column, frame_of, original, plain_columns, sklearn_model, type_names
from mlflow_ext.registry.trial_rows import trial_rows
from mlflow_ext.registry.twins.bounds import HiddenEncoderError, estimators, is_hopeless, known_values
from mlflow_ext.registry.twins.session import MATRIX, KnownValues, TwinSession

logger = logging.getLogger(__name__)

SCORE_TOLERANCE = 1e-5
"""By how much class probabilities may differ; they are compared, not served, and some operators compute them in
single precision."""
MOST_NODES = 2_000_000
"""Trees with more nodes together take minutes to convert, and more memory than the twin saves time."""
_OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Versions of ONNX's operators; the newest that skl2onnx writes for models."""
MOST_ROWS = 20_000
"""Evaluation rows beyond these are not asked."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A twin that agreed.

    Attributes:
        content: The ONNX graph.
        facts: What is kept about it.
    """

    content: bytes
    facts: TwinFacts


def make_twin(predictor: Any, tolerance: float, evaluation: pd.DataFrame | None = None) -> Twin:
    """Convert a model, and compare the twin with it.

    Args:
        predictor: MLflow's `PyFuncModel`.
        tolerance: By how much a regressor's answers may differ, relative to an answer above 1, else absolute.
        evaluation: Rows to compare on, beside those that are made for it.

    Raises:
        TwinRefusedError: There is none; the message says why.
    """
    model = sklearn_model(predictor)
    columns = plain_columns(predictor.metadata.get_input_schema())
    if model is None:
        raise TwinRefusedError("only predict() of a scikit-learn model is converted")
    if columns is None or predictor.metadata.get_params_schema() is not None:
        raise TwinRefusedError("its signature has more than required, named columns of numbers, texts and booleans")
    if is_hopeless(model):
        raise TwinRefusedError("it answers without looking at its rows")
    if _nodes(model) > MOST_NODES:
        raise TwinRefusedError(f"its trees have more than {MOST_NODES} nodes")
    try:
        known = known_values(model, [name for name, _ in columns])
    except HiddenEncoderError as exc:
        raise TwinRefusedError(str(exc)) from exc
    sets = [trial_rows(model, columns)]
    if evaluation is not None and {name for name, _ in columns} <= set(evaluation.columns):
        sets.append(_rows(evaluation, columns))
    reasons = []
    for precision in ("double", "single"):
        try:
            content = convert(model, columns, known, single=precision == "single")
            session = TwinSession(content, type_names(columns), known)
            difference = compare(session, model, columns, sets, tolerance)
        except TwinRefusedError as exc:
            reasons.append(f"{precision} precision: {exc}")
        # converters and runtime raise errors of every kind for models that they do not know
        except Exception as exc:
            reasons.append(f"{precision} precision: it cannot be converted: {type(exc).__name__}: {_line(exc)}")
        else:
            digest = hashlib.sha256(content).hexdigest()
            rows = sum(map(len, sets))
            return Twin(content, TwinFacts(digest, len(content), precision, rows, difference))
    raise TwinRefusedError("; ".join(reasons))


def convert(model: Any, columns: Sequence[Column], known: KnownValues, *, single: bool) -> bytes:
    """Convert a model.

    Raises:
        Exception: Whatever the converters raise.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    from mlflow_ext.registry.twins.imputers import imputer
    from mlflow_ext.registry.twins.trees import converters, finish

    number = FloatTensorType if single else DoubleTensorType
    by_column = bool(known) or _takes_names(model) or any(kind is DataType.string for _, kind in columns)
    if by_column:
        inputs = [
            (name, (StringTensorType if kind is DataType.string else number)([None, 1])) for name, kind in columns
        ]
    else:
        inputs = [(MATRIX, number([None, len(columns)]))]
    own = {**converters(), SimpleImputer: imputer}
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    # probabilities as a matrix, not as a list of dictionaries; few classifiers have no such option
    plain: dict[int, dict[str, bool]] = {id(last): {"zipmap": False}}
    bare: dict[int, dict[str, bool]] = {id(last): {}}
    for options in (plain, bare) if hasattr(last, "classes_") else ({},):
        with warnings.catch_warnings():
            # about the converter's own dependencies
            warnings.simplefilter("ignore")
            try:
                graph = convert_sklearn(
                    model, "twin", inputs, custom_conversion_functions=own, options=options, target_opset=_OPSETS
                )
            except NameError:
                if options is not plain:
                    raise
            else:
                break
    finish(graph)
    return bytes(graph.SerializeToString())


def compare(
    session: TwinSession,
    model: Any,
    columns: Sequence[Column],
    sets: Sequence[Sequence[tuple[Any, ...]]],
    tolerance: float,
) -> float:
    """Compare a twin with the original; gives the largest difference of its answers or scores.

    Raises:
        TwinRefusedError: They disagree; the message says by how much.
    """
    ask = original(model, columns)
    worst = 0.0
    for rows in sets:
        mine = [row for row in rows if session.takes(row)]
        if not mine:
            continue
        try:
            wanted = ask(mine)
        # the model's own code
        except Exception as exc:
            raise TwinRefusedError(f"the original refuses rows: {type(exc).__name__}: {_line(exc)}") from exc
        answers = session.answers(mine).astype(wanted.dtype)
        if hasattr(model, "classes_") or wanted.dtype.kind != "f":
            differing = int((answers != wanted).sum())
            if differing:
                raise TwinRefusedError(f"{differing} of {len(mine)} labels differ")
            worst = max(worst, _scores(session, model, columns, mine))
        else:
            worst = max(worst, _within(answers, wanted, tolerance))
    return worst


def _within(answers: NDArray[Any], wanted: NDArray[Any], tolerance: float) -> float:
    difference = float((np.abs(answers - wanted) / np.maximum(1.0, np.abs(wanted))).max())
    # written so that a difference that is no number is one too many
    if not difference <= tolerance:
        raise TwinRefusedError(f"its answers differ by up to {difference:.1e}, more than onnx_tolerance {tolerance:g}")
    return difference


def _scores(session: TwinSession, model: Any, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> float:
    if not hasattr(model, "predict_proba") or not session.has_scores:
        return 0.0
    wanted = np.asarray(model.predict_proba(frame_of(rows, columns)), dtype=np.float64)
    scores = session.scores(rows)
    difference = float(np.abs(scores - wanted).max()) if scores.shape == wanted.shape else float("inf")
    if not difference <= SCORE_TOLERANCE:
        raise TwinRefusedError(f"its probabilities differ by up to {difference:.1e}, more than {SCORE_TOLERANCE:g}")
    return difference


def _takes_names(model: Any) -> bool:
    steps = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    return any(hasattr(step, "transformers_") for step in steps)


def _rows(frame: pd.DataFrame, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    own = frame[[name for name, _ in columns]].dropna().head(MOST_ROWS)
    return list(own.astype(object).itertuples(index=False, name=None))


def _nodes(model: Any) -> int:
    found = 0
    for part in estimators(model):
        found += part.tree_.node_count if hasattr(part, "tree_") else 0
        found += sum(len(one.nodes) for round_ in getattr(part, "_predictors", ()) for one in round_)
    return found


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200] or "no reason given"
