"""Drift in k of the last m windows."""

import pytest

from drift.job import confirmed
from mlflow_ext.domain.drift import DriftVerdict
from mlflow_ext.policy import DriftPolicy

OK, DRIFT, UNSURE = DriftVerdict.OK, DriftVerdict.DRIFT, DriftVerdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("here", "before", "verdict"),
    [
        (DRIFT, [], OK),
        (DRIFT, [False, False], OK),
        (DRIFT, [False, True], DRIFT),
        (OK, [True, True], DRIFT),
        (OK, [True, False], OK),
        (OK, [False, False], OK),
        (UNSURE, [True, False], UNSURE),
        (UNSURE, [True, True], DRIFT),
    ],
)
def test_drift_is_drift_when_enough_of_the_last_windows_drifted(
    here: DriftVerdict, before: list[bool], verdict: DriftVerdict
) -> None:
    """Two of the last three: this window counts like the two before; too few leave this window's own answer."""
    policy = DriftPolicy(drifted_windows=2, last_windows=3)
    found, reason = confirmed(here, "why", before, policy)
    assert found is verdict
    assert ("2 are needed" in reason) is bool(sum(before) + (here is DRIFT))


def test_more_windows_than_are_looked_at_are_refused() -> None:
    """A policy that could never find drift is a mistake."""
    with pytest.raises(ValueError, match="can never drift"):
        DriftPolicy(drifted_windows=3, last_windows=2)
