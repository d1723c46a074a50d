"""The calibration gate: one result a bound, with interval and reliability diagram."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gates import judge
from mlflow_ext.gates.calibration import CalibrationPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

RNG = np.random.default_rng(5)
TRUE = RNG.random(2_000)
ROWS = pd.DataFrame({"p": TRUE, "target": np.where(RNG.random(2_000) < TRUE, "yes", "no")})


def version(number: int, bend: float) -> MemoryVersion:
    """A classifier that knows the probability and bends it; 1 is honest, more is overconfident."""

    def scores(frame: pd.DataFrame) -> np.ndarray:
        p = frame["p"].to_numpy()
        bent = p**bend / (p**bend + (1 - p) ** bend)
        return np.column_stack([1 - bent, bent])

    return MemoryVersion(number, probabilities=scores, classes=np.array(["no", "yes"]))


def judged(bend: float, champion: float | None = None, rows: pd.DataFrame = ROWS, **policy: Any) -> list[GateResult]:
    """Judge such a classifier."""
    context = MemoryContext(version(2, bend), rows, None if champion is None else version(1, champion))
    results = list(judge([CalibrationPolicy.model_validate(policy)], context))
    assert all(result.picture is None or result.picture in context.pictures for result in results)
    return results


def test_an_honest_model_passes_and_an_overconfident_one_fails() -> None:
    """Both errors are measured; the interval is around the measured value."""
    [brier, ece] = judged(1, max_brier=0.18, max_ece=0.05)
    assert (brier.verdict, ece.verdict) == (Verdict.PASSED, Verdict.PASSED)
    # the Brier score of a uniform probability that is honest is 1/6
    assert brier.measured == pytest.approx(1 / 6, abs=0.01)
    assert brier.interval is not None
    assert brier.interval[0] < (brier.measured or 0) < brier.interval[1]
    assert ece.picture == "gates/calibration.png"
    [failed] = judged(4, max_ece=0.05)
    assert (failed.verdict, failed.name) == (Verdict.FAILED, "ECE ≤ 0.05")
    [by_rows] = judged(4, max_ece=0.05, binning="rows")
    assert by_rows.verdict is Verdict.FAILED


def test_a_change_is_measured_against_production_on_the_same_rows() -> None:
    """No worse than Production passes, worse fails, and without Production it passes and says so."""
    [same] = judged(2, 2, max_brier_change=0.0)
    [worse] = judged(4, 1, max_brier_change=0.0)
    [first] = judged(4, None, max_brier_change=0.0)
    assert (same.verdict, worse.verdict, first.verdict) == (Verdict.PASSED, Verdict.FAILED, Verdict.PASSED)
    assert (same.champion, same.bound) == (same.measured, same.measured)
    assert "version 1 in Production has" in worse.reason
    assert "no version in Production" in first.reason


def test_what_cannot_be_judged() -> None:
    """Too few rows are inconclusive; no probabilities, or an unknown class, are errors in words."""
    [few] = judged(1, rows=ROWS.head(20), max_ece=0.1)
    assert few.verdict is Verdict.INCONCLUSIVE
    [other] = judged(1, rows=ROWS.assign(target="perhaps"), max_ece=0.1)
    assert (other.verdict, "does not know the classes perhaps" in other.reason) == (Verdict.ERROR, True)
    [none] = judge([CalibrationPolicy(max_ece=0.1)], MemoryContext(MemoryVersion(2), ROWS))
    assert (none.verdict, "no class probabilities" in none.reason) == (Verdict.ERROR, True)
    with pytest.raises(ValidationError, match="needs max_brier"):
        CalibrationPolicy()
