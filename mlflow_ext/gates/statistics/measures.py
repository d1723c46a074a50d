"""Measures that gates compute from rows themselves, where MLflow's one number for all rows is not enough.

Names and meanings are MLflow's; how two versions are compared by them is in `paired.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gate_context import GateContext, JudgedVersion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_TINY = 1e-15
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure.

    Attributes:
        name: As MLflow names it.
        greater_is_better: Which direction is better.
        of_scores: Whether it takes class probabilities instead of predictions.
        per_row: Gives one value a row whose mean is the measure; `None` where it is no mean of rows.
        value: Gives the measure of `(target, answers)`.
    """

    name: str
    greater_is_better: bool
    of_scores: bool
    per_row: "Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]] | None"
    value: "Callable[[NDArray[Any], NDArray[Any]], float]"


def measure_named(name: str, *, greater_is_better: bool | None = None) -> Measure:
    """Find a measure by its name, or by the import path of a function `(target, prediction) -> number`.

    Raises:
        EvaluationImpossibleError: There is none of this name; the message lists those there are.
    """
    if ":" in name:
        better = True if greater_is_better is None else greater_is_better
        return Measure(name, better, of_scores=False, per_row=None, value=imported(name))
    if name not in NAMES:
        raise EvaluationImpossibleError(f"{name} cannot be computed on rows; known are {', '.join(NAMES)}")
    return _measures()[name]


def imported(path: str) -> Callable[[Any, Any], float]:
    """Import a metric of a user's own by `module:function`.

    Raises:
        EvaluationImpossibleError: It cannot be imported where gates run.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise EvaluationImpossibleError(f"the metric {path} cannot be imported where gates run: {exc}") from exc

    def value(target: Any, prediction: Any) -> float:
        try:
            return float(function(target, prediction))
        # a user's function may raise whatever it likes
        except Exception as exc:
            raise EvaluationImpossibleError(f"{path} failed: {type(exc).__name__}: {exc}") from exc

    return value


def positive_class(target: "NDArray[Any]") -> Any:
    """Give the class that counts as positive: the greater of the two labels (1, True, "yes").

    Raises:
        EvaluationImpossibleError: There are not exactly two.
    """
    import numpy as np

    labels = np.unique(target)
    if len(labels) != 2:
        raise EvaluationImpossibleError(f"the target has {len(labels)} classes, and this needs exactly two")
    return labels[-1]


def positive_scores(side: JudgedVersion, frame: "pd.DataFrame", positive: Any) -> "NDArray[np.float64]":
    """Give each row's probability of the positive class, shape `(rows,)`.

    Raises:
        EvaluationImpossibleError: The version has no probabilities, or does not know this class.
    """
    import numpy as np

    scores, classes = side.scores(frame), side.classes
    if scores is None or classes is None:
        raise EvaluationImpossibleError(f"version {side.version} gives no class probabilities")
    column = np.flatnonzero(classes == positive)
    if len(column) != 1:
        raise EvaluationImpossibleError(
            f"version {side.version} knows the classes {', '.join(map(str, classes))}, and {positive} is not among them"
        )
    return np.asarray(scores[:, column[0]], dtype=np.float64)


def answers(measure: Measure, side: JudgedVersion, context: GateContext) -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """Give target and answers as `measure.value` takes them; for scores the target is 1 for the positive class."""
    return answers_on(measure, side, context.rows, context.rows[context.target].to_numpy())


def answers_on(
    measure: Measure, side: JudgedVersion, frame: "pd.DataFrame", target: "NDArray[Any]"
) -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """Give target and answers for rows of the caller's own, as `answers` does for the evaluation rows."""
    import numpy as np

    if not measure.of_scores:
        return target, side.predict(frame)
    positive = positive_class(target)
    return (target == positive).astype(np.int64), positive_scores(side, frame, positive)


def default_measure(context: GateContext) -> str:
    """Name the measure that fits the kind of model where a policy names none."""
    return "accuracy_score" if context.model_type == "classifier" else "mean_absolute_error"


def model_columns(context: GateContext) -> list[str]:
    """Name the evaluation rows' columns that the candidate takes; all but the target where it does not tell."""
    signature = context.candidate.signature
    named = [column.name for column in signature.inputs] if signature else []
    return [name for name in named if name in context.rows.columns] or [
        str(name) for name in context.rows.columns if name != context.target
    ]


def _measures() -> dict[str, Measure]:
    import numpy as np
    from sklearn import metrics

    def by_counts(share: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], float]:
        """Give the share for the positive class of two, else the classes' mean weighted by their rows."""

        def value(target: Any, prediction: Any) -> float:
            labels, rows = np.unique(target, return_counts=True)
            two = len(labels) == 2 and bool(np.isin(prediction, labels).all())
            shares = []
            for label in labels[-1:] if two else labels:
                is_so, is_said = target == label, prediction == label
                right = float((is_so & is_said).sum())
                shares.append(share(right, float(is_so.sum()), float(is_said.sum())))
            return float(shares[0] if two else np.average(shares, weights=rows))

        return value

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    def mean(per_row: Any) -> Callable[[Any, Any], float]:
        return lambda target, answer: float(np.mean(per_row(target, answer)))

    def right(target: Any, prediction: Any) -> Any:
        return (target == prediction).astype(np.float64)

    def absolute(target: Any, prediction: Any) -> Any:
        return np.abs(np.asarray(target, dtype=np.float64) - prediction)

    def squared(target: Any, prediction: Any) -> Any:
        return absolute(target, prediction) ** 2

    def surprise(target: Any, score: Any) -> Any:
        clipped = np.clip(score, _TINY, 1 - _TINY)
        return -np.where(target == 1, np.log(clipped), np.log1p(-clipped))

    found = [
        Measure("accuracy_score", True, False, right, mean(right)),
        Measure("f1_score", True, False, None, by_counts(lambda r, so, said: ratio(2 * r, so + said))),
        Measure("precision_score", True, False, None, by_counts(lambda r, so, said: ratio(r, said))),
        Measure("recall_score", True, False, None, by_counts(lambda r, so, said: ratio(r, so))),
        Measure("roc_auc", True, True, None, lambda target, score: float(metrics.roc_auc_score(target, score))),
        Measure("log_loss", False, True, surprise, mean(surprise)),
        Measure("brier_score", False, True, squared, mean(squared)),
        Measure("mean_absolute_error", False, False, absolute, mean(absolute)),
        Measure("mean_squared_error", False, False, squared, mean(squared)),
        Measure("root_mean_squared_error", False, False, None, lambda t, a: float(np.sqrt(np.mean(squared(t, a))))),
        Measure("r2_score", True, False, None, lambda t, a: float(metrics.r2_score(t, a))),
    ]
    return {measure.name: measure for measure in found}


NAMES = (
    *("accuracy_score", "f1_score", "precision_score", "recall_score", "roc_auc", "log_loss", "brier_score"),
    *("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score"),
)
"""All measures."""
