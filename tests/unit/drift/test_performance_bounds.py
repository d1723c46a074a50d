"""A verdict on performance by bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from drift.performance_bounds import judged
from mlflow_ext.domain.drift import DriftReport, DriftVerdict, Window
from mlflow_ext.retraining_policy import MetricBound

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNDS = {"roc_auc": MetricBound(below=0.6), "brier_score": MetricBound(above=0.2)}


@pytest.mark.parametrize(
    ("performance", "verdict", "reason"),
    [
        ({"labelled_rows": 500, "roc_auc": 0.7, "brier_score": 0.1}, DriftVerdict.OK, "within its bounds"),
        ({"labelled_rows": 500, "roc_auc": 0.5, "brier_score": 0.1}, DriftVerdict.DRIFT, "roc_auc 0.5 is below 0.6"),
        ({"labelled_rows": 500, "roc_auc": 0.7, "brier_score": 0.3}, DriftVerdict.DRIFT, "brier_score 0.3 is above"),
        ({"labelled_rows": 500, "roc_auc": 0.5}, DriftVerdict.DRIFT, "roc_auc 0.5 is below 0.6"),
        ({"labelled_rows": 500, "roc_auc": 0.7}, DriftVerdict.INCONCLUSIVE, "brier_score was not measured"),
        ({"labelled_rows": 99, "roc_auc": 0.1}, DriftVerdict.INCONCLUSIVE, "99 labelled rows, 100 are needed"),
        ({}, DriftVerdict.INCONCLUSIVE, "0 labelled rows"),
    ],
)
def test_bad_enough_and_sure_enough(performance: dict[str, float], verdict: DriftVerdict, reason: str) -> None:
    """One bad metric is enough; too few labels, or a metric that could not be measured, are never ok."""
    report = DriftReport("m", 1, Window(NOON, NOON + timedelta(hours=1)), DriftVerdict.OK, "", performance=performance)
    found = judged(report, BOUNDS)
    assert found.performance_verdict is verdict
    assert reason in found.performance_reason
    assert DriftReport.from_dict(found.as_dict()) == found


def test_without_bounds_there_is_no_verdict() -> None:
    """Nobody said what is bad."""
    report = DriftReport("m", 1, Window(NOON, NOON + timedelta(hours=1)), DriftVerdict.OK, "")
    assert judged(report, {}).performance_verdict is None
