"""Measures on rows: the same numbers as scikit-learn's, from which MLflow's come."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gates.statistics.measures import (
    NAMES,
    answers,
    imported,
    measure_named,
    positive_class,
    positive_scores,
)
from mlflow_ext.testing import MemoryContext, MemoryVersion

labels = st.lists(st.integers(0, 3), min_size=12, max_size=12).map(np.array)
COUNTED = {
    "f1_score": metrics.f1_score,
    "precision_score": metrics.precision_score,
    "recall_score": metrics.recall_score,
}


@settings(max_examples=60, deadline=None)
@given(target=labels, said=labels, name=st.sampled_from(sorted(COUNTED)), two=st.booleans())
def test_shares_of_classes_are_scikit_learns(target: np.ndarray, said: np.ndarray, name: str, *, two: bool) -> None:
    """The greater class of two; weighted by rows where there are more."""
    if two:
        target, said = np.where(np.arange(12) % 3, target > 1, 1), said > 1
        target[:2] = [0, 1]
    binary = len(np.unique(target)) == 2 and set(said.tolist()) <= set(target.tolist())
    how = {"average": "binary", "pos_label": target.max()} if binary else {"average": "weighted"}
    wanted = COUNTED[name](target, said, zero_division=0.0, **how)
    assert measure_named(name).value(target, said) == pytest.approx(wanted)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), min_size=2, max_size=30))
def test_losses_are_means_of_their_rows(rows: list[tuple[bool, float]]) -> None:
    """Log loss, Brier score and the errors are scikit-learn's, and the mean of what each row adds."""
    target, score = np.array([int(one) for one, _ in rows]), np.array([one for _, one in rows])
    wanted = {
        "log_loss": metrics.log_loss(target, score, labels=[0, 1]),
        "brier_score": metrics.brier_score_loss(target, score, labels=[0, 1], pos_label=1),
        "mean_absolute_error": metrics.mean_absolute_error(target, score),
        "mean_squared_error": metrics.mean_squared_error(target, score),
        "root_mean_squared_error": metrics.root_mean_squared_error(target, score),
    }
    for name, value in wanted.items():
        measure = measure_named(name)
        found = measure.value(target, score)
        assert found == pytest.approx(value)
        assert measure.per_row is None or measure.per_row(target, score).mean() == pytest.approx(found)


def test_every_name_has_its_measure() -> None:
    """What the error message lists exists."""
    assert [measure_named(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(EvaluationImpossibleError, match="known are accuracy_score"):
        measure_named("auc")
    assert imported("sklearn.metrics:r2_score")([1, 2], [1, 2]) == 1.0


def test_scores_are_those_of_the_positive_class_whatever_the_order_of_classes() -> None:
    """The greater label is positive; its column is found by name; a class that a version does not know is an error."""
    rows = pd.DataFrame({"p": [0.2, 0.9], "target": ["no", "yes"]})

    def side(*classes: str) -> MemoryVersion:
        return MemoryVersion(
            probabilities=lambda frame: np.column_stack([frame["p"], 1 - frame["p"]]), classes=np.array(classes)
        )

    assert positive_class(rows["target"].to_numpy()) == "yes"
    assert positive_scores(side("yes", "no"), rows, "yes").tolist() == [0.2, 0.9]
    assert positive_scores(side("no", "yes"), rows, "yes") == pytest.approx([0.8, 0.1])
    with pytest.raises(EvaluationImpossibleError, match="yes is not among them"):
        positive_scores(side("no", "perhaps"), rows, "yes")
    target, score = answers(measure_named("roc_auc"), side("yes", "no"), MemoryContext(MemoryVersion(), rows))
    assert (target.tolist(), score.tolist()) == ([0, 1], [0.2, 0.9])
