"""Performance without labels, where it can be known: data whose labels are drawn from known chances."""

import numpy as np
import pandas as pd
import pytest

from drift.estimated import estimate
from drift.performance import realised


def world(count: int, seed: int, *, centre: float = 0.0, concept: float = 0.0) -> pd.DataFrame:
    """Rows with an overconfident model's score and the label; `centre` moves inputs, `concept` what they mean."""
    random = np.random.default_rng(seed)
    logit = random.normal(centre, 1.5, count)
    label = random.random(count) < 1 / (1 + np.exp(-(logit + concept)))
    return pd.DataFrame({"prediction": 1 / (1 + np.exp(-2.5 * logit)), "target": label.astype(int)})


def came_true(window: pd.DataFrame) -> dict[str, float]:
    """Measure with the labels."""
    return realised(window[["prediction"]], window["target"], "classifier")


@pytest.mark.parametrize("centre", [0.0, 1.0, -1.5])
def test_where_only_inputs_move_the_estimate_holds_what_came_true(centre: float) -> None:
    """On twelve windows of one drifted world nearly all realised metrics lie in their intervals."""
    reference = world(5_000, 1)
    inside = []
    for seed in range(2, 14):
        window = world(1_500, seed, centre=centre)
        expected = estimate(reference, window[["prediction"]], "target", "classifier", draws=40)
        assert expected.note == ""
        true = came_true(window)
        for name in ("accuracy", "f1_macro", "roc_auc", "brier_score", "positive_share"):
            low, high = expected.metrics[f"{name}_low"], expected.metrics[f"{name}_high"]
            assert low <= expected.metrics[name] <= high
            inside.append(low <= true[name] <= high)
    assert np.mean(inside) > 0.8


def test_scores_that_are_no_chances_are_calibrated() -> None:
    """Taken as they are, the overconfident scores promise more than comes true; the estimate does not believe them."""
    window = world(3_000, 3)
    true = came_true(window)
    promised = float(np.maximum(window["prediction"], 1 - window["prediction"]).mean())
    expected = estimate(world(5_000, 1), window[["prediction"]], "target", "classifier").metrics
    assert promised > true["accuracy"] + 0.05
    assert expected["accuracy"] == pytest.approx(true["accuracy"], abs=0.03)


def test_a_changed_concept_is_not_seen() -> None:
    """The same scores have the same estimate whatever they come to mean: that takes labels."""
    reference = world(5_000, 1)
    same, changed = world(3_000, 3), world(3_000, 3, concept=2.0)
    assert (same["prediction"] == changed["prediction"]).all()
    assert same["target"].mean() + 0.1 < changed["target"].mean()
    found = [estimate(reference, one[["prediction"]], "target", "classifier") for one in (same, changed)]
    assert found[0] == found[1]


def test_two_columns_of_probabilities_are_read_too() -> None:
    """`prediction_0` and `prediction_1`, as models with `predict_proba` answer."""
    reference, window = world(2_000, 1), world(500, 2)
    both = [
        one.assign(prediction_0=1 - one["prediction"], prediction_1=one["prediction"]).drop(columns="prediction")
        for one in (reference, window)
    ]
    expected = estimate(reference, window[["prediction"]], "target", "classifier")
    assert estimate(both[0], both[1].drop(columns="target"), "target", "classifier") == expected


@pytest.mark.parametrize(
    ("reference", "model_type", "why"),
    [
        (world(500, 1), "regressor", "no classifier"),
        (world(500, 1).drop(columns="target"), "classifier", "no labels"),
        (world(500, 1).round({"prediction": 0}), "classifier", "no probabilities"),
        (world(500, 1).assign(target=0), "classifier", "fewer than 100 labels"),
        (world(500, 1).assign(target=None), "classifier", "fewer than 100 labels"),
        (world(500, 1).assign(target="yes"), "classifier", "other than 0 and 1"),
        (world(500, 1).assign(prediction=lambda one: one["prediction"] * 7), "classifier", "no probabilities"),
    ],
)
def test_where_it_is_not_possible_it_says_why(reference: pd.DataFrame, model_type: str, why: str) -> None:
    """Never a number that nothing stands behind."""
    found = estimate(reference, reference[["prediction"]], "target", model_type)
    assert why in found.note
    assert found.metrics == {}
