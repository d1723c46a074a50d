"""Performance without labels: what a classifier's calibrated probabilities say about its own answers.

Confidence-based performance estimation (CBPE) as NannyML's documentation describes it, after Guillory et al.,
"Predicting with confidence on unseen distributions" (ICCV 2021): where the reference says how often a score is right,
the scores of a window say how many of its answers are. What really came true is measured in `performance.py`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from drift.performance import CUT, probabilities, same_class

DRAWS = 60
"""Worlds that are drawn; the interval's ends err by some tenth of its width."""
LEAST_LABELS = 100
"""Of each class in the reference: fewer say too little about how often a score is right."""
INSIDE = 0.95
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Performance as it is expected to be.

    Attributes:
        metrics: By name, each with `<name>_low` and `<name>_high`, between which it lies in 95 % of the worlds drawn.
        note: Why there is none; empty where there is.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""


def estimate(
    reference: pd.DataFrame, outputs: pd.DataFrame, target: str, model_type: str, *, seed: int = 0, draws: int = DRAWS
) -> Estimate:
    """Estimate how well a window was answered.

    Each draw learns the calibration (isotonic) from the reference's rows drawn with replacement, draws a label for each
    row of the window by it, and measures the answers as if these were true. So the interval holds both what the
    reference leaves open and the chance in the labels. It does not hold concept drift: a world in which the same inputs
    have other outcomes cannot be seen without labels.

    Args:
        reference: Rows with the model's answers (`prediction` or `prediction_0`, `prediction_1`) and their labels.
        outputs: The model's answers in the window, in the same columns.
        target: Column of the labels.
        model_type: `classifier` or `regressor`.
        seed: Of the draws.
        draws: How many.
    """
    if model_type != "classifier":
        return Estimate(note="the model is no classifier")
    if target not in reference:
        return Estimate(note=f"the reference has no labels (column {target})")
    learnt, scores = probabilities(reference), probabilities(outputs)
    if learnt is None or scores is None:
        return Estimate(note="the model's answers are no probabilities of one of two classes")
    actual = reference[target].map(same_class)
    known = (reference[target].notna() & actual.isin(("0", "1"))).to_numpy()
    if not known.all() and not reference[target].isna().to_numpy()[~known].all():
        return Estimate(note="the reference's labels are other than 0 and 1")
    learnt, truth = learnt[known], (actual[known] == "1").to_numpy().astype(float)
    if min(truth.sum(), len(truth) - truth.sum()) < LEAST_LABELS:
        return Estimate(note=f"the reference has fewer than {LEAST_LABELS} labels of one of the classes")
    if not len(scores):
        return Estimate(note="the window has no answers")
    return Estimate(_summary(_worlds(learnt, truth, scores, np.random.default_rng(seed), draws)))


def _worlds(
    learnt: Floats, truth: Floats, scores: Floats, random: np.random.Generator, draws: int
) -> list[dict[str, float]]:
    found = []
    ranks = rankdata(scores)
    for _ in range(draws):
        some = random.integers(0, len(truth), len(truth))
        calibration = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(learnt[some], truth[some])
        labels = random.random(len(scores)) < calibration.predict(scores)
        found.append(_measured(labels, scores, ranks))
    return found


def _measured(labels: npt.NDArray[np.bool_], scores: Floats, ranks: Floats) -> dict[str, float]:
    """Give the metrics of `performance.py` for one world, a hundred times as fast as by scikit-learn's functions."""
    answered = scores >= CUT
    count, positive = len(labels), int(labels.sum())
    both = int((labels & answered).sum())
    neither = int((~labels & ~answered).sum())
    right = both + neither
    measured = {
        "accuracy": right / count,
        "positive_share": positive / count,
        "brier_score": float(np.mean((scores - labels) ** 2)),
    }
    f1 = [2 * hits / (2 * hits + count - right) for hits in (both, neither) if hits + count - right]
    measured["f1_macro"] = float(np.mean(f1))
    if 0 < positive < count:
        # the rank sum (Mann and Whitney); ties share their rank
        above = ranks[labels].sum() - positive * (positive + 1) / 2
        measured["roc_auc"] = float(above / (positive * (count - positive)))
    return measured


def _summary(worlds: list[dict[str, float]]) -> dict[str, float]:
    edge = (1 - INSIDE) / 2
    summary: dict[str, float] = {}
    # a metric that some world did not allow, such as one with a single class, is not told
    for name in sorted(set.intersection(*(set(one) for one in worlds))):
        values: Any = [one[name] for one in worlds]
        summary[name] = float(np.mean(values))
        summary[f"{name}_low"], summary[f"{name}_high"] = (float(np.quantile(values, at)) for at in (edge, 1 - edge))
    return summary
