"""Calibration: published examples, and rules of bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from mlflow_ext.gates.statistics.calibration import bins, brier_rows, confidences

some = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40)


def arrays(rows: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Truth and confidence."""
    return np.array([int(one) for one, _ in rows]), np.array([one for _, one in rows])


def test_the_examples_that_libraries_document() -> None:
    """TorchMetrics' example of the calibration error (0.29, largest 0.3167); scikit-learn's of the Brier score."""
    found = bins(np.array([0, 0, 1, 1, 1]), np.array([0.25, 0.25, 0.55, 0.75, 0.75]), 2)
    assert found.error == pytest.approx(0.2900, abs=5e-5)
    assert found.worst == pytest.approx(0.3167, abs=5e-5)
    scores = np.array([0.1, 0.9, 0.8, 0.3])
    rows = brier_rows(np.array([0, 1, 1, 0]), np.column_stack([1 - scores, scores]))
    assert rows.mean() == pytest.approx(0.0375)


def test_three_classes_are_judged_by_their_top_label() -> None:
    """By hand: confidences 0.6, 0.5, 0.4, right, wrong, right; Brier summed over classes."""
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    truth = np.array([0, 2, 2])
    right, confidence = confidences(truth, scores)
    assert (right.tolist(), confidence.tolist()) == ([1, 0, 1], [0.6, 0.5, 0.4])
    assert brier_rows(truth, scores) == pytest.approx([0.26, 0.78, 0.54])


@given(some, st.integers(1, 20), st.booleans())
def test_the_error_is_a_distance_between_0_and_1(rows: list[tuple[bool, float]], count: int, equal: bool) -> None:
    """No row is lost, and the mean is no larger than the worst bin."""
    found = bins(*arrays(rows), count, equal_rows=equal)
    assert found.rows.sum() == len(rows)
    assert 0 <= found.error <= found.worst + 1e-12 <= 1 + 1e-12
    assert len(found.rows) <= count


@given(some, st.integers(1, 8), st.integers(2, 4))
def test_finer_bins_hide_less(rows: list[tuple[bool, float]], count: int, times: int) -> None:
    """Splitting every bin never makes the error smaller; one bin is the distance of the means."""
    truth, confidence = arrays(rows)
    # away from the edges, where rounding decides on which side a row falls
    confidence = (np.floor(confidence * 999) + 0.5) / 1000.0003
    assert bins(truth, confidence, count * times).error >= bins(truth, confidence, count).error - 1e-9
    assert bins(truth, confidence, 1).error == pytest.approx(abs(truth.mean() - confidence.mean()))


@given(some)
def test_the_brier_score_of_two_classes_is_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    """And what comes true for sure, said for sure, has no error at all."""
    truth, score = arrays(rows)
    scores = np.column_stack([1 - score, score])
    wanted = brier_score_loss(truth, score, labels=[0, 1], pos_label=1)
    assert brier_rows(truth, scores).mean() == pytest.approx(wanted)
    sure = np.column_stack([1 - truth, truth]).astype(float)
    assert (brier_rows(truth, sure).mean(), bins(*confidences(truth, sure), 10).error) == (0, 0)
