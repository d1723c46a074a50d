"""Performance without labels of classifiers: what their calibrated probabilities say about their own answers.

Confidence-based performance estimation (CBPE) as NannyML's documentation describes it, after Guillory et al.,
"Predicting with confidence on unseen distributions" (ICCV 2021): where the reference says how often a score is right,
the scores of a window say how many of its answers are. More than two classes are calibrated each against the others,
and their chances brought to a sum of 1 (Zadrozny and Elkan, KDD 2002).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from drift.engine.scale import Floats
from drift.estimates.calibration import LEAST_LABELS, calibration
from drift.estimates.estimate import edges
from drift.performance import CUT, class_probabilities, probabilities, same_class

DRAWS = 60
"""Worlds that are drawn; the interval's ends err by some tenth of its width."""
MOST_CURVES = 360
"""Curves that are learnt: with more than six classes fewer worlds are drawn."""
MOST_CLASSES = 20


def estimate_classes(
    reference: pd.DataFrame, outputs: pd.DataFrame, target: str, random: np.random.Generator
) -> dict[str, float] | str:
    """Estimate how well a window was answered, or say why that is not possible.

    Each draw learns the calibration from the reference's rows drawn with replacement, draws a label for each row of the
    window by it, and measures the answers as if these were true. So the interval holds both what the reference leaves
    open and the chance in the labels.

    Args:
        reference: Rows with the model's answers and their labels.
        outputs: The model's answers in the window, in the same columns.
        target: Column of the labels.
        random: Of the draws.
    """
    learnt, scores = scores_of(reference), scores_of(outputs)
    if learnt is None or scores is None or learnt.shape[1] != scores.shape[1]:
        return "the model's answers are no probabilities of classes"
    classes = learnt.shape[1]
    if classes > MOST_CLASSES:
        return f"the model has more than {MOST_CLASSES} classes"
    actual = reference[target].map(same_class)
    known = (reference[target].notna() & actual.isin([str(one) for one in range(classes)])).to_numpy()
    if not known.all() and not reference[target].isna().to_numpy()[~known].all():
        last = f"0 and {classes - 1}" if classes == 2 else f"0 to {classes - 1}"
        return f"the reference's labels are other than {last}"
    truth: NDArray[Any] = actual[known].astype(int).to_numpy()
    if np.bincount(truth, minlength=classes).min() < LEAST_LABELS:
        return f"the reference has fewer than {LEAST_LABELS} labels of one of the classes"
    return _summary(_worlds(learnt[known], truth, scores, random))


def scores_of(answers: pd.DataFrame) -> Floats | None:
    """Give the probability of each class, shape (rows, classes); `None` where the answers are none."""
    binary = probabilities(answers)
    if binary is not None:
        return np.column_stack([1 - binary, binary])
    return class_probabilities(answers)


def _worlds(
    learnt: Floats, truth: NDArray[np.intp], scores: Floats, random: np.random.Generator
) -> list[dict[str, float]]:
    classes = scores.shape[1]
    # of two classes one says all
    curves = [(one, calibration(learnt[:, one], truth == one)) for one in range(1 if classes == 2 else 0, classes)]
    ranks = np.column_stack([rankdata(scores[:, one]) for one in range(classes)])
    answered = (scores[:, 1] >= CUT).astype(int) if classes == 2 else scores.argmax(axis=1)
    found = []
    for _ in range(min(DRAWS, MOST_CURVES // len(curves))):
        times = np.bincount(random.integers(0, len(truth), len(truth)), minlength=len(truth)).astype(float)
        chances = np.empty_like(scores)
        for one, curve in curves:
            chances[:, one] = curve.chances(times, scores[:, one])
        if classes == 2:
            chances[:, 0] = 1 - chances[:, 1]
        total = chances.sum(axis=1, keepdims=True)
        # what every curve gives no chance keeps what the model said
        chances = np.where(total > 0, chances, scores)
        steps = np.cumsum(chances, axis=1)
        labels = (random.random((len(scores), 1)) * steps[:, -1:] >= steps[:, :-1]).sum(axis=1)
        found.append(_measured(labels, answered, scores, ranks))
    return found


def _measured(labels: NDArray[np.intp], answered: NDArray[np.intp], scores: Floats, ranks: Floats) -> dict[str, float]:
    """Give the metrics of `performance.py` for one world, a hundred times as fast as by scikit-learn's functions."""
    rows, classes = scores.shape
    met = np.bincount(labels * classes + answered, minlength=classes * classes).reshape(classes, classes)
    right, true, said = np.diag(met), met.sum(axis=1), met.sum(axis=0)
    seen = true + said > 0
    measured = {
        "accuracy": float(right.sum()) / rows,
        "f1_macro": float(np.mean(2 * right[seen] / (true + said)[seen])),
    }
    if (true > 0).all():
        # rank sums (Mann and Whitney); ties share their rank
        above = np.array([ranks[labels == one, one].sum() for one in range(classes)]) - true * (true + 1) / 2
        # with two classes both are the same
        measured["roc_auc"] = float(np.mean(above / (true * (rows - true))))
    if classes == 2:
        measured["positive_share"] = float(true[1]) / rows
        measured["brier_score"] = float(np.mean((scores[:, 1] - labels) ** 2))
    return measured


def _summary(worlds: list[dict[str, float]]) -> dict[str, float]:
    summary: dict[str, float] = {}
    # a metric that some world did not allow, such as one with a single class, is not told
    for name in sorted(set.intersection(*(set(one) for one in worlds))):
        values: Any = np.array([one[name] for one in worlds])
        summary[name] = float(values.mean())
        summary[f"{name}_low"], summary[f"{name}_high"] = edges(values)
    return summary
