"""Realised performance: what was predicted against the feedback that came back.

Estimates without labels are `estimates/`.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd

CUT = 0.5
"""A probability from here on counts as class 1."""
_ROUNDED = 1e-3
"""So far may a row's probabilities be from 1 together: answers are rounded."""


def realised(
    outputs: pd.DataFrame,
    labels: "pd.Series[Any]",
    model_type: Literal["classifier", "regressor"],
    rows: int | None = None,
) -> dict[str, float]:
    """Measure the rows that have a label.

    Args:
        outputs: Outputs of some rows, the labelled ones among them: `prediction`, or several `prediction_…`.
        labels: Label of each row, missing where none came back.
        model_type: What the model is.
        rows: Rows of the whole window, where `labels` are not all of them.

    Returns:
        Metrics by name, always with `labelled_rows` and `labelled_share`; only these two when there is nothing to
        measure. No NaN and no infinity.
    """
    known = labels.notna().to_numpy()
    share = float(known.sum() / (rows or len(known))) if len(known) else 0.0
    measured: dict[str, float] = {"labelled_rows": float(known.sum()), "labelled_share": share}
    if not known.any() or outputs.empty:
        return measured
    truth, answers = labels[known].reset_index(drop=True), outputs.loc[known].reset_index(drop=True)
    measured |= _regression(truth, answers) if model_type == "regressor" else _classification(truth, answers)
    return {name: float(value) for name, value in measured.items() if np.isfinite(value)}


def _regression(truth: "pd.Series[Any]", answers: pd.DataFrame) -> dict[str, float]:
    if "prediction" not in answers:
        return {}
    given = pd.to_numeric(answers["prediction"], errors="coerce")
    actual = pd.to_numeric(truth, errors="coerce")
    from sklearn import metrics

    both = (np.isfinite(given) & np.isfinite(actual)).to_numpy()
    if not both.any():
        return {}
    given, actual = given[both], actual[both]
    measured = {
        "mean_absolute_error": metrics.mean_absolute_error(actual, given),
        "root_mean_squared_error": metrics.root_mean_squared_error(actual, given),
    }
    if len(actual) > 1 and actual.nunique() > 1:
        measured["r2_score"] = metrics.r2_score(actual, given)
    return measured


def _classification(truth: "pd.Series[Any]", answers: pd.DataFrame) -> dict[str, float]:
    from sklearn import metrics

    actual = truth.map(same_class)
    several = class_probabilities(answers)
    if several is not None:
        return _of_several(actual, several)
    scores, given = _scores(answers)
    measured: dict[str, float] = {}
    if given is not None:
        measured["accuracy"] = metrics.accuracy_score(actual, given)
        measured["f1_macro"] = metrics.f1_score(actual, given, average="macro", zero_division=0)
    if set(actual) <= {"0", "1"}:
        positive = (actual == "1").to_numpy()
        measured["positive_share"] = float(positive.mean())
        if scores is not None and 0 < positive.sum() < len(positive):
            measured["roc_auc"] = metrics.roc_auc_score(positive, scores)
        if scores is not None and scores.min() >= 0 and scores.max() <= 1:
            measured["brier_score"] = float(np.mean((scores - positive) ** 2))
    return measured


def probabilities(answers: pd.DataFrame) -> "np.ndarray[Any, Any] | None":
    """Give the probability of class 1 of each row; `None` where the answers are no probabilities of two classes."""
    scores, _ = _scores(answers[[name for name in answers if str(name).startswith("prediction")]])
    return None if scores is None or not len(scores) or scores.min() < 0 or scores.max() > 1 else scores


def class_probabilities(answers: pd.DataFrame) -> "np.ndarray[Any, Any] | None":
    """Give the probability of each of more than two classes, shape (rows, classes); `None` where there are none."""
    names = [name for name in answers if str(name).startswith("prediction")]
    if len(names) < 3 or not len(answers) or names != [f"prediction_{place}" for place in range(len(names))]:
        return None
    scores: np.ndarray[Any, Any] = answers[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(scores).all() or scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > _ROUNDED:
        return None
    return scores


def _of_several(actual: "pd.Series[Any]", scores: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Measure probabilities of more than two classes; nothing where labels do not say which column they are."""
    from sklearn import metrics

    names = [str(place) for place in range(scores.shape[1])]
    if not set(actual) <= set(names):
        return {}
    given = scores.argmax(axis=1).astype(str)
    measured = {
        "accuracy": metrics.accuracy_score(actual, given),
        "f1_macro": metrics.f1_score(actual, given, average="macro", zero_division=0),
    }
    if set(actual) == set(names):
        areas = [metrics.roc_auc_score(actual == name, scores[:, place]) for place, name in enumerate(names)]
        measured["roc_auc"] = np.mean(areas)
    return measured


def _scores(answers: pd.DataFrame) -> tuple["np.ndarray[Any, Any] | None", "pd.Series[Any] | None"]:
    """Find the probability of class 1 and the predicted class among the outputs."""
    score: np.ndarray[Any, Any] | None = None
    names = list(answers.columns)
    if names == ["prediction_0", "prediction_1"]:
        score = pd.to_numeric(answers["prediction_1"], errors="coerce").to_numpy(dtype=float)
    elif "prediction" in names and pd.api.types.is_float_dtype(answers["prediction"]):
        values = answers["prediction"].to_numpy(dtype=float)
        if not np.isin(values, (0.0, 1.0)).all():
            score = values
    if score is not None:
        if not np.isfinite(score).all():
            return None, None
        return score, pd.Series(np.where(score >= CUT, "1", "0"))
    if "prediction" in names:
        return None, answers["prediction"].map(same_class)
    return None, None


def same_class(value: Any) -> str:
    """Name a class: 1, 1.0, True and the text of it are one."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | float | np.number):
        return format(float(value), "g")
    return str(value)
