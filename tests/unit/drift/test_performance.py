"""Realised performance over the rows that have a label."""

import math

import numpy as np
import pandas as pd
import pytest

from drift.performance import realised


def labels(*values: object) -> pd.Series:
    """Labels as feedback gives them."""
    return pd.Series(list(values), dtype=object)


def test_only_labelled_rows_count() -> None:
    """Rows without feedback are no mistakes."""
    outputs = pd.DataFrame({"prediction": ["a", "b", "a", "a"]})
    found = realised(outputs, labels("a", "b", None, "b"), "classifier")
    assert found["labelled_rows"] == 3
    assert found["labelled_share"] == 0.75
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_no_feedback_measures_nothing() -> None:
    """Only the two counts are there."""
    found = realised(pd.DataFrame({"prediction": [1.0]}), labels(None), "classifier")
    assert found == {"labelled_rows": 0.0, "labelled_share": 0.0}


@pytest.mark.parametrize("name", ["prediction", "prediction_1"])
def test_probabilities_give_roc_auc(name: str) -> None:
    """One probability of class 1, or a pair of them, and labels in any spelling."""
    scores = [0.1, 0.4, 0.35, 0.8]
    outputs = pd.DataFrame({"prediction_0": [1 - score for score in scores], "prediction_1": scores})
    outputs = outputs if name == "prediction_1" else pd.DataFrame({"prediction": scores})
    found = realised(outputs, labels(0, 0, True, 1.0), "classifier")
    assert found["roc_auc"] == 0.75
    assert found["accuracy"] == 0.75


def test_classes_as_numbers_and_labels_as_text_meet() -> None:
    """A prediction 1 and a label "1" are the same class."""
    assert realised(pd.DataFrame({"prediction": [1, 0]}), labels("1", "0"), "classifier")["accuracy"] == 1.0


def test_regression() -> None:
    """Errors in the target's unit."""
    found = realised(pd.DataFrame({"prediction": [1.0, 3.0]}), labels(2, 3), "regressor")
    assert found["mean_absolute_error"] == 0.5
    assert found["root_mean_squared_error"] == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_no_nan_and_no_infinity_come_out(kind: str) -> None:
    """MLflow's run page fails on them."""
    outputs = pd.DataFrame({"prediction": [np.nan, 1.0, np.inf]})
    found = realised(outputs, labels(1, "x", 1), kind)  # type: ignore[arg-type]
    assert all(math.isfinite(value) for value in found.values())


def test_probabilities_of_three_classes_are_measured() -> None:
    """The largest is the answer; labels name the column by its number, in any spelling."""
    outputs = pd.DataFrame(
        {
            "prediction_0": [0.7, 0.2, 0.1, 0.5],
            "prediction_1": [0.2, 0.5, 0.3, 0.3],
            "prediction_2": [0.1, 0.3, 0.6, 0.2],
        }
    )
    found = realised(outputs, labels(0, "1", 2.0, 1), "classifier")
    assert found["accuracy"] == 0.75
    # class 0: 3 of 3 pairs in order; 1: 3.5 of 4; 2: 3 of 3
    assert found["roc_auc"] == pytest.approx((1 + 3.5 / 4 + 1) / 3)
    assert "roc_auc" not in realised(outputs, labels(0, 1, 1, 1), "classifier")
    assert "accuracy" not in realised(outputs, labels("a", "b", "c", "a"), "classifier")
