"""What a retraining learns from: recent rows, mixed with history and weighed as policy says."""

import pandas as pd
import pytest

from drift.retraining import WEIGHT, mixed
from mlflow_ext.retraining_policy import RetrainingPolicy

RECENT = pd.DataFrame({"a": [1.0, 2.0], "target": [0, 1]})
HISTORY = pd.DataFrame({"a": range(100), "target": [0] * 100}).astype({"a": float})


def test_recent_rows_alone() -> None:
    """Without history and weight nothing is added."""
    assert mixed(RECENT, None, RetrainingPolicy()).equals(RECENT)


@pytest.mark.parametrize("wanted", [10, 1_000])
def test_rows_of_history(wanted: int) -> None:
    """As many as policy says or there are, none twice, the same ones each time; recent rows come first."""
    policy = RetrainingPolicy(history_rows=wanted)
    rows = mixed(RECENT, HISTORY, policy)
    assert len(rows) == 2 + min(wanted, 100)
    assert rows.head(2).equals(RECENT)
    assert rows["a"].tail(-2).is_unique
    assert set(rows["a"].tail(-2)) <= set(HISTORY["a"])
    assert mixed(RECENT, HISTORY, policy).equals(rows)


def test_weights() -> None:
    """A recent row weighs what policy says, one of history one."""
    rows = mixed(RECENT, HISTORY, RetrainingPolicy(history_rows=3, recent_weight=5.0))
    assert rows[WEIGHT].tolist() == [5.0, 5.0, 1.0, 1.0, 1.0]
