"""The answer follows from the columns."""

import pytest

from drift.verdict import decide
from mlflow_ext.domain.drift import ColumnDrift, DriftVerdict


def column(name: str, drifted: bool, *, kind: str = "data", compared: bool = True) -> ColumnDrift:
    """A column."""
    return ColumnDrift(name, kind, "ks" if compared else "not_compared", 0.5 if compared else None, 0.1, drifted, "why")


@pytest.mark.parametrize(
    ("drifted", "of", "verdict"), [(0, 10, DriftVerdict.OK), (2, 10, DriftVerdict.OK), (3, 10, DriftVerdict.DRIFT)]
)
def test_the_share_of_drifted_inputs_decides(drifted: int, of: int, verdict: DriftVerdict) -> None:
    """From the policy's share on it is drift, below it is not."""
    columns = [column(f"c{number}", number < drifted) for number in range(of)]
    assert decide(columns, 0.3)[:2] == (verdict, drifted / of)


def test_a_drifted_prediction_is_drift() -> None:
    """Whatever the inputs do."""
    columns = [column("a", False), column("prediction", True, kind="prediction")]
    assert decide(columns, 0.3) == (DriftVerdict.DRIFT, 0.0, "0 of 1 input columns drifted; prediction drifted")


def test_nothing_to_compare_is_inconclusive() -> None:
    """And the reason names the columns."""
    verdict, share, reason = decide([column("a", False, compared=False)], 0.3)
    assert (verdict, share) == (DriftVerdict.INCONCLUSIVE, None)
    assert "a: why" in reason


def test_columns_that_cannot_be_compared_do_not_count() -> None:
    """One of one compared column drifted is a share of 1, however many others there are."""
    columns = [column("a", True), *(column(f"x{number}", False, compared=False) for number in range(9))]
    assert decide(columns, 0.3)[:2] == (DriftVerdict.DRIFT, 1.0)
