"""Paired comparisons: published examples, definitions computed the long way, and rules that hold for all inputs."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mlflow_ext.gates.statistics.paired import auc_covariance, bootstrap, delong, mcnemar, tango_interval

# DeLong, DeLong, Clarke-Pearson (1988), the 43 complete records: albumin, total protein, K-G score, outcome
OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1
3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0
2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1
3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0
3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
# Hanley, McNeil (1982), Radiology 143, table 1: ratings 1 to 5 of 58 normal and 51 abnormal images
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)

scores = st.lists(st.integers(0, 6).map(float), min_size=20, max_size=20).map(np.array)
truth = st.lists(st.integers(0, 1), min_size=16, max_size=16).map(lambda some: np.array([0, 0, 1, 1, *some]))


def the_long_way(target: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components by their definition, one comparison of two rows at a time."""

    def wins(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    v10, v01 = [], []
    for one in both:
        positive, negative = one[target == 1], one[target == 0]
        table = np.array([[wins(x, y) for y in negative] for x in positive])
        v10.append(table.mean(axis=1))
        v01.append(table.mean(axis=0))
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    return np.array([one.mean() for one in v10]), covariance


def test_delongs_own_example() -> None:
    """Areas, standard errors and the test of two curves are those that the ovarian cancer data are published with."""
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    albumin, protein, score, target = table[:, 0], table[:, 1], 10 - table[:, 2], table[:, 3]
    areas, covariance = auc_covariance(target, np.vstack([albumin, protein, score]))
    assert areas.round(4).tolist() == [0.7366, 0.6478, 0.7258]
    assert np.sqrt(np.diag(covariance)).round(4).tolist() == [0.0927, 0.1000, 0.1028]
    found = delong(target, score, albumin, 0.95)
    assert found.difference == pytest.approx(-0.0108, abs=5e-5)
    assert found.details["standard_error"] == pytest.approx(0.0953, abs=5e-5)
    assert found.interval == pytest.approx((-0.1976, 0.1761), abs=5e-5)
    assert found.p_value == pytest.approx(0.9102, abs=5e-5)


def test_the_area_and_standard_error_of_hanley_and_mcneils_ratings() -> None:
    """Ties by the dozen: area 0.8932 and standard error 0.0307, as statistics packages print for these ratings."""
    ratings = np.concatenate([np.repeat(range(1, 6), NORMAL), np.repeat(range(1, 6), ABNORMAL)])
    areas, covariance = auc_covariance(np.repeat([0, 1], [58, 51]), ratings[None, :])
    assert (round(areas[0], 4), round(sqrt(covariance[0, 0]), 4)) == (0.8932, 0.0307)


@given(truth, scores, scores)
def test_delong_is_its_definition(target: np.ndarray, mine: np.ndarray, theirs: np.ndarray) -> None:
    """Midranks give what comparing every positive with every negative gives; the areas are scikit-learn's."""
    both = np.vstack([mine, theirs])
    areas, covariance = auc_covariance(target, both)
    slow_areas, slow_covariance = the_long_way(target, both)
    assert np.allclose(areas, slow_areas)
    assert np.allclose(covariance, slow_covariance)
    assert areas[0] == pytest.approx(roc_auc_score(target, mine))
    there, back = delong(target, mine, theirs, 0.9), delong(target, theirs, mine, 0.9)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p_value == pytest.approx(back.p_value)
    same = delong(target, mine, mine, 0.9)
    assert same.interval == pytest.approx((0, 0), abs=1e-7)


def pairs(won: int, lost: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows each side got right."""
    mine, theirs = np.ones(rows, int), np.ones(rows, int)
    theirs[:won] = 0
    mine[won : won + lost] = 0
    return mine, theirs


def test_published_examples_of_mcnemar_and_tango() -> None:
    """Fagerland, Lydersen, Laake (2014): 1 against 7 of 21; Armitage and Berry (1994): 12 against 2 of 50."""
    found = mcnemar(*pairs(1, 7, 21), 0.95)
    assert found.p_value == pytest.approx(0.0703, abs=5e-5)
    assert found.interval == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert found.difference == pytest.approx(-0.286, abs=5e-4)
    assert mcnemar(*pairs(12, 2, 50), 0.95).p_value == pytest.approx(0.0129, abs=5e-5)


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60), st.floats(0.8, 0.99))
def test_tangos_interval_is_where_the_score_test_does_not_reject(
    won: int, lost: int, agreed: int, confidence: float
) -> None:
    """At each end the score statistic, by brute-force likelihood, is the quantile; sides swap; certainty widens."""
    rows = won + lost + agreed
    low, high = tango_interval(won, lost, rows, confidence)
    assert -1 <= low <= (won - lost) / rows <= high <= 1
    assert tango_interval(lost, won, rows, confidence) == pytest.approx((-high, -low), abs=1e-9)
    wider = tango_interval(won, lost, rows, confidence + 0.005)
    assert wider[0] < low
    assert high < wider[1]
    for delta in (low, high):
        q = np.linspace(max(0, -delta), (1 - delta) / 2, 200_001)[1:-1]
        likelihood = agreed * np.log1p(-2 * q - delta)
        likelihood += (won * np.log(q + delta) if won else 0) + (lost * np.log(q) if lost else 0)
        best = q[likelihood.argmax()]
        statistic = (won - lost - rows * delta) / sqrt(rows * (2 * best + delta * (1 - delta)))
        assert abs(statistic) == pytest.approx(norm.ppf(0.5 + confidence / 2), rel=2e-2)


def test_agreement_on_every_row_is_no_certainty() -> None:
    """Where both sides agree on 100 rows the difference may still be almost 4 points."""
    found = mcnemar(*pairs(0, 0, 100), 0.95)
    assert found.interval == pytest.approx((-0.037, 0.037), abs=1e-4)
    assert (found.p_value, found.effect_size) == (1.0, 0.0)


def f1(target: np.ndarray, prediction: np.ndarray) -> float:
    """A measure that is no mean of rows."""
    return 2 * float((target * prediction).sum()) / max(float(target.sum() + prediction.sum()), 1.0)


def absolute(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Each row's absolute error."""
    return np.abs(target - prediction)


def mean_absolute(target: np.ndarray, prediction: np.ndarray) -> float:
    """Their mean."""
    return float(absolute(target, prediction).mean())


def test_the_bootstrap_of_a_mean_is_the_t_interval() -> None:
    """For a mean of many rows the interval is close to the textbook one, and the same each time."""
    rng = np.random.default_rng(7)
    target = rng.normal(size=3_000)
    mine, theirs = target + rng.normal(size=3_000), target + rng.normal(1, 1, size=3_000)
    found = bootstrap(target, mine, theirs, mean_absolute, 0.95, per_row=absolute, resamples=4_000)
    rows = absolute(target, mine) - absolute(target, theirs)
    reach = 1.96 * rows.std(ddof=1) / sqrt(len(rows))
    assert found.interval == pytest.approx((rows.mean() - reach, rows.mean() + reach), abs=0.004)
    assert found.effect_size == pytest.approx(rows.mean() / rows.std(ddof=1))
    assert "percentile" in found.method
    again = bootstrap(target, mine, theirs, mean_absolute, 0.95, per_row=absolute, resamples=4_000)
    assert again == found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_bootstrap_takes_any_measure(seed: int) -> None:
    """The difference lies in the interval, sides swap, and equal answers differ by nothing."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, 120)
    mine = np.where(rng.random(120) < 0.2, 1 - target, target)
    theirs = np.where(rng.random(120) < 0.35, 1 - target, target)
    found = bootstrap(target, mine, theirs, f1, 0.9, resamples=200)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert found.difference == pytest.approx(f1(target, mine) - f1(target, theirs))
    assert bootstrap(target, mine, mine, f1, 0.9, resamples=200).interval == (0, 0)
