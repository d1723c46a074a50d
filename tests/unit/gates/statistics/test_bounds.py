"""What an interval says about the most that is allowed."""

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.gates import Verdict
from mlflow_ext.gates.statistics.bounds import at_most

NUMBERS = st.floats(-1e6, 1e6)


@given(bound=NUMBERS, below=st.floats(0, 1e6), width=st.floats(0, 1e6))
def test_a_kept_bound_passes_however_wide_the_interval(bound: float, below: float, width: float) -> None:
    """Whatever is not more than the bound passes."""
    found = bound - below
    assert at_most(found, bound, found - width, "failed") == (Verdict.PASSED, "no more than")


@given(bound=st.integers(-1000, 1000), low=st.integers(1, 1000), more=st.integers(0, 1000))
def test_a_bound_below_the_interval_is_missed(bound: int, low: int, more: int) -> None:
    """Where the whole interval lies above the bound, it failed, whatever undecided means."""
    assert at_most(bound + low + more, bound, bound + low, "inconclusive")[0] is Verdict.FAILED


@pytest.mark.parametrize("undecided", ["inconclusive", "failed"])
def test_a_bound_inside_the_interval_is_the_policys_word(undecided: str) -> None:
    """More than the bound, but not surely: as the policy says."""
    verdict, words = at_most(0.12, 0.1, 0.1, undecided)  # type: ignore[arg-type]
    assert verdict == undecided
    assert "chance" in words


def test_no_number_neither_passes_nor_fails() -> None:
    """A value that cannot be compared leaves the decision to a person."""
    assert at_most(nan, 0.1, nan, "failed")[0] is Verdict.INCONCLUSIVE
