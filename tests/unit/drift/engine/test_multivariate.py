"""Columns together: what no single column shows is found, and nothing is found where nothing is."""

import numpy as np
import pandas as pd
import pytest

from drift.engine.comparison import compare
from drift.engine.multivariate import measure
from drift.engine.rules import Rules
from drift.engine.verdict import decide
from mlflow_ext.domain.drift import DriftVerdict
from tests.unit.drift.engine.tables import counted, profiled


def rows(seed: int, count: int, correlation: float) -> pd.DataFrame:
    """Pairs of normal columns that go together, and one of text; each column is the same whatever the correlation."""
    rng = np.random.default_rng(seed)
    found: dict[str, object] = {}
    for pair in range(3):
        first, noise = rng.normal(size=count), rng.normal(size=count)
        found[f"a{pair}"] = first
        found[f"b{pair}"] = correlation * first + np.sqrt(1 - correlation**2) * noise
    return pd.DataFrame({**found, "text": rng.choice(["x", "y"], count)})


@pytest.mark.parametrize("method", ["pca", "classifier"])
def test_a_flipped_correlation_is_found_and_an_equal_one_is_not(method: str) -> None:
    """Every column's own distribution stays; the two methods see the rows."""
    reference, flipped = rows(1, 3_000, 0.8), rows(2, 2_000, -0.8)
    [found] = measure([method], reference, flipped)
    assert found.effect > 0.3
    assert found.p_value < 1e-9
    chances = [
        measure([method], reference, rows(seed, 1_000, 0.8))[0].p_value
        for seed in range(3, 11 if method == "pca" else 5)
    ]
    assert min(chances) > 0.001

    columns = {name: reference[name].to_numpy() for name in reference}
    window = {name: flipped[name].to_numpy() for name in flipped}
    profile = profiled(columns)
    alone = compare(profile, counted(profile, window), Rules())
    assert decide(alone, Rules(), window_rows=2_000, reference_rows=3_000)[0] is DriftVerdict.OK
    together = compare(profile, counted(profile, window), Rules(), [found])
    verdict, share, reason = decide(together, Rules(), window_rows=2_000, reference_rows=3_000)
    assert (verdict, share) == (DriftVerdict.DRIFT, 0.0)
    assert f"the inputs together drifted ({method})" in reason


def test_whatever_the_columns_hold_is_taken() -> None:
    """Missing values, infinity, constants, outliers and truth values; too few rows or columns give no answer."""
    reference = rows(1, 500, 0.5).assign(constant=1.0, truth=True)
    window = reference.copy()
    window.loc[::3, "a0"] = np.nan
    window.loc[5, "b0"] = np.inf
    window.loc[7, "b1"] = 1e300
    for found in measure(["pca", "classifier"], reference, window):
        assert 0 <= found.p_value <= 1
        assert 0 <= found.area <= 1
    assert measure(["pca"], reference, window.head(5)) == []
    assert measure(["pca"], reference, window[["a0"]]) == []
