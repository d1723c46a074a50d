"""The metric gate: bounds, directions, and what it says when there is nothing to compare."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gates import judge
from mlflow_ext.gates.metric import MetricPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

values = st.floats(-1e6, 1e6)


ROWS = pd.DataFrame({"x": range(100), "target": [0, 1] * 50})


def evidence(candidate: float, champion: float | None = None) -> MemoryContext:
    """A context in which one metric was measured."""
    production = None if champion is None else MemoryVersion(2, {"auc": champion})
    return MemoryContext(MemoryVersion(3, {"auc": candidate}), ROWS, production)


def judge_metric(policy: MetricPolicy, context: MemoryContext) -> GateResult:
    """The gate's one result."""
    [result] = judge([policy], context)
    return result


@given(measured=values, threshold=values, greater=st.booleans())
def test_a_threshold_is_reached_from_the_better_side(measured: float, threshold: float, *, greater: bool) -> None:
    """At least the threshold where greater is better, at most where it is not; equality is enough."""
    policy = MetricPolicy(metric="auc", threshold=threshold, greater_is_better=greater)
    result = judge_metric(policy, evidence(measured))
    better = measured >= threshold if greater else measured <= threshold
    near = math.isclose(measured, threshold, rel_tol=1e-12, abs_tol=1e-12)
    assert (result.verdict is Verdict.PASSED) == (better or near)
    assert (result.measured, result.bound, result.sample_size) == (measured, threshold, 100)


@given(champion=values, measured=values, change=st.floats(-10, 10), rel=st.booleans())
def test_a_change_mirrors_when_lower_is_better(champion: float, measured: float, change: float, *, rel: bool) -> None:
    """Negating the metric and the direction gives the same verdict."""
    bounds = {"min_relative_change" if rel else "min_absolute_change": change}
    up = judge_metric(MetricPolicy(metric="auc", **bounds), evidence(measured, champion))
    down = judge_metric(MetricPolicy(metric="auc", greater_is_better=False, **bounds), evidence(-measured, -champion))
    assert up.verdict is down.verdict


@given(values, st.floats(0, 1e6), st.floats(0, 10))
def test_a_candidate_better_by_the_bound_passes(champion: float, gain: float, share: float) -> None:
    """What is as much better as asked passes, and floating point does not fail it."""
    policy = MetricPolicy(metric="auc", min_absolute_change=gain, min_relative_change=share)
    needed = max(champion + gain, champion + share * abs(champion))
    assert judge_metric(policy, evidence(needed, champion)).verdict is Verdict.PASSED


def test_rounding_does_not_fail_a_gate() -> None:
    """0.72 is 0.02 better than 0.70, whatever floating point says."""
    policy = MetricPolicy(metric="auc", min_absolute_change=0.02)
    assert judge_metric(policy, evidence(0.72, 0.70)).verdict is Verdict.PASSED


def test_the_strictest_bound_decides_and_the_reason_has_the_numbers() -> None:
    """The reason names measured value, bound and the champion's value."""
    policy = MetricPolicy(metric="auc", threshold=0.5, min_absolute_change=0.01)
    result = judge_metric(policy, evidence(0.8, 0.85))
    assert result.verdict is Verdict.FAILED
    assert result.bound == pytest.approx(0.86)
    assert result.champion == 0.85
    for part in ("auc is 0.8", "at least 0.86", "version 2 in Production has 0.85"):
        assert part in result.reason


def test_without_a_champion_a_change_passes_and_says_so() -> None:
    """Change bounds have nothing to compare with; a threshold still counts."""
    first = judge_metric(MetricPolicy(metric="auc", min_absolute_change=0.01), evidence(0.8))
    assert (first.verdict, "no version in Production" in first.reason) == (Verdict.PASSED, True)
    both = judge_metric(MetricPolicy(metric="auc", threshold=0.9, min_absolute_change=0.01), evidence(0.8))
    assert both.verdict is Verdict.FAILED


def test_a_missing_metric_is_an_error_that_lists_what_there_is() -> None:
    """A wrong metric name is no failure of the model; the reason lists the names to choose from."""
    result = judge_metric(MetricPolicy(metric="roc_auc", threshold=0.5), evidence(0.8))
    assert result.verdict is Verdict.ERROR
    assert "available metrics: auc" in result.reason


def test_what_is_not_a_number_is_inconclusive() -> None:
    """NaN neither passes nor fails, on either side, and stays out of the report's numbers."""
    policy = MetricPolicy(metric="auc", threshold=0.5, min_absolute_change=0)
    mine = judge_metric(policy, evidence(math.nan, 0.5))
    theirs = judge_metric(policy, evidence(0.8, math.nan))
    assert (mine.verdict, theirs.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert (mine.measured, theirs.champion) == (None, None)


def test_a_champion_that_cannot_be_measured_is_an_error_only_for_changes() -> None:
    """A threshold needs no champion; a comparison does."""
    broken = evidence(0.8)
    broken.production_fault = "version 2 in Production could not be measured: its files are gone"
    assert judge_metric(MetricPolicy(metric="auc", threshold=0.5), broken).verdict is Verdict.PASSED
    result = judge_metric(MetricPolicy(metric="auc", min_relative_change=0), broken)
    assert result.verdict is Verdict.ERROR
    assert "its files are gone" in result.reason


def test_a_gate_without_a_bound_is_a_mistake_in_the_policy() -> None:
    """It would pass everything."""
    with pytest.raises(ValidationError, match="needs threshold"):
        MetricPolicy(metric="auc")


def test_a_metric_of_ones_own_is_found_by_its_import_path() -> None:
    """`module:function` is called with target and prediction of each side, as scikit-learn's metrics are."""
    context = evidence(0.8)
    context.candidate.answer = lambda frame: (frame["x"] % 2).to_numpy()
    context.production = MemoryVersion(2, answer=lambda frame: np.ones(len(frame)))
    own = MetricPolicy(metric="sklearn.metrics:accuracy_score", min_absolute_change=0.1)
    result = judge_metric(own, context)
    assert (result.verdict, result.measured, result.champion, result.bound) == (Verdict.PASSED, 1.0, 0.5, 0.6)
    for path, hint in (("sklearn.metrics:none_such", "cannot be imported"), ("math:sqrt", "math:sqrt failed for")):
        result = judge_metric(MetricPolicy(metric=path, threshold=1), context)
        assert (result.verdict, hint in result.reason) == (Verdict.ERROR, True)
