"""Classifiers' performance without labels, where it can be known: data whose labels are drawn from known chances."""

import numpy as np
import pandas as pd
import pytest

from drift.estimates.estimate import Estimate, estimate
from drift.performance import realised

METRICS = ("accuracy", "f1_macro", "roc_auc")
OF_TWO = (*METRICS, "brier_score", "positive_share")


def world(count: int, seed: int, *, centre: float = 0.0, concept: float = 0.0) -> pd.DataFrame:
    """Rows with an overconfident model's score and the label; `centre` moves inputs, `concept` what they mean."""
    random = np.random.default_rng(seed)
    logit = random.normal(centre, 1.5, count)
    label = random.random(count) < 1 / (1 + np.exp(-(logit + concept)))
    return pd.DataFrame({"prediction": 1 / (1 + np.exp(-2.5 * logit)), "target": label.astype(int)})


def of_three(count: int, seed: int, *, centre: float = 0.0) -> pd.DataFrame:
    """Rows with an overconfident model's scores of three classes and the label; `centre` moves the inputs."""
    random = np.random.default_rng(seed)
    logits = np.column_stack([random.normal(centre, 1.2, count), random.normal(0, 1.2, count), np.zeros(count)])
    chances, said = (np.exp(logits * sharper) for sharper in (1.0, 2.0))
    chances, said = (one / one.sum(axis=1, keepdims=True) for one in (chances, said))
    label = (random.random((count, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    return pd.DataFrame({f"prediction_{one}": said[:, one] for one in range(3)}).assign(target=label)


def expected(reference: pd.DataFrame, window: pd.DataFrame) -> Estimate:
    """Estimate a window, without its labels."""
    outputs = window[[name for name in window if str(name).startswith("prediction")]]
    return estimate(reference, pd.DataFrame(index=window.index), outputs, "target", "classifier")


def came_true(window: pd.DataFrame) -> dict[str, float]:
    """Measure with the labels."""
    outputs = window[[name for name in window if str(name).startswith("prediction")]]
    return realised(outputs, window["target"], "classifier")


def share_inside(reference: pd.DataFrame, windows: list[pd.DataFrame], names: tuple[str, ...]) -> float:
    """Give the share of realised metrics that lie in their intervals."""
    inside = []
    for window in windows:
        found, true = expected(reference, window), came_true(window)
        assert found.note == ""
        assert set(found.metrics) == {f"{name}{end}" for name in names for end in ("", "_low", "_high")}
        for name in names:
            low, high = found.metrics[f"{name}_low"], found.metrics[f"{name}_high"]
            assert low <= found.metrics[name] <= high
            inside.append(low <= true[name] <= high)
    return float(np.mean(inside))


@pytest.mark.parametrize("centre", [0.0, 1.0, -1.5])
def test_where_only_inputs_move_the_estimate_holds_what_came_true(centre: float) -> None:
    """On eight windows of one drifted world nearly all realised metrics lie in their intervals."""
    windows = [world(1_500, seed, centre=centre) for seed in range(2, 10)]
    assert share_inside(world(5_000, 1), windows, OF_TWO) > 0.8


@pytest.mark.parametrize("centre", [0.0, 1.0, -1.0])
def test_three_classes_are_calibrated_each_against_the_others(centre: float) -> None:
    """The same for more than two classes, by the metrics that labels give."""
    windows = [of_three(1_500, seed, centre=centre) for seed in range(2, 8)]
    assert share_inside(of_three(5_000, 1), windows, METRICS) > 0.8


@pytest.mark.parametrize("centre", [0.0, 1.0, -1.0])
def test_few_labels_are_enough_for_platts_curve(centre: float) -> None:
    """References of 120 rows, another one for each window: too few for a curve of any shape, and honest."""
    inside = [
        share_inside(world(120, 100 + seed), [world(1_500, seed, centre=centre)], OF_TWO) for seed in range(2, 10)
    ]
    assert np.mean(inside) > 0.8


def test_few_labels_make_wide_intervals() -> None:
    """What little the reference says shows in the interval."""
    window = world(1_500, 2)
    widths = [
        found.metrics["accuracy_high"] - found.metrics["accuracy_low"]
        for found in (expected(world(rows, 1), window) for rows in (120, 800, 5_000))
    ]
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]


def test_scores_that_are_no_chances_are_calibrated() -> None:
    """Taken as they are, the overconfident scores promise more than comes true; the estimate does not believe them."""
    window = world(3_000, 3)
    true = came_true(window)
    promised = float(np.maximum(window["prediction"], 1 - window["prediction"]).mean())
    assert promised > true["accuracy"] + 0.05
    for reference in (world(5_000, 1), world(600, 1)):
        assert expected(reference, window).metrics["accuracy"] == pytest.approx(true["accuracy"], abs=0.04)


def test_a_changed_concept_is_not_seen() -> None:
    """The same scores have the same estimate whatever they come to mean: that takes labels."""
    reference = world(5_000, 1)
    same, changed = world(3_000, 3), world(3_000, 3, concept=2.0)
    assert (same["prediction"] == changed["prediction"]).all()
    assert same["target"].mean() + 0.1 < changed["target"].mean()
    assert expected(reference, same) == expected(reference, changed)


def test_two_columns_of_probabilities_are_read_too() -> None:
    """`prediction_0` and `prediction_1`, as models with `predict_proba` answer."""
    reference, window = world(2_000, 1), world(500, 2)
    both = [
        one.assign(prediction_0=1 - one["prediction"], prediction_1=one["prediction"]).drop(columns="prediction")
        for one in (reference, window)
    ]
    assert expected(*both) == expected(reference, window)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (world(500, 1).drop(columns="target"), "no labels"),
        (world(500, 1).round({"prediction": 0}), "no probabilities"),
        (world(500, 1).assign(target=0), "fewer than 20 labels"),
        (world(500, 1).assign(target=None), "fewer than 20 labels"),
        (world(30, 1), "fewer than 20 labels"),
        (world(500, 1).assign(target="yes"), "other than 0 and 1"),
        (world(500, 1).assign(prediction=lambda one: one["prediction"] * 7), "no probabilities"),
        (of_three(500, 1).assign(target=lambda one: one["target"].clip(upper=1)), "fewer than 20 labels"),
        (of_three(500, 1).assign(target="setosa"), "other than 0 to 2"),
        (of_three(500, 1).assign(prediction_2=0.9), "no probabilities"),
    ],
)
def test_where_it_is_not_possible_it_says_why(reference: pd.DataFrame, why: str) -> None:
    """Never a number that nothing stands behind."""
    found = expected(reference, reference)
    assert why in found.note
    assert found.metrics == {}


def test_more_classes_than_can_be_afforded_are_not_estimated() -> None:
    """A bound on what a check costs, and it is told."""
    scores = pd.DataFrame({f"prediction_{one}": np.full(50, 1 / 21) for one in range(21)})
    assert "more than 20 classes" in expected(scores.assign(target=0), scores).note
