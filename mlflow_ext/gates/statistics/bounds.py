"""What a measurement with its interval says about the most that is allowed. Pure."""

from math import isnan
from typing import Literal

from mlflow_ext.domain.gates import Verdict


def at_most(
    found: float, bound: float, low: float, undecided: Literal["inconclusive", "failed"]
) -> tuple[Verdict, str]:
    """Judge a measured value, and say in words how it stands to the bound.

    Args:
        found: What was measured.
        bound: The most that is allowed.
        low: Lower end of the value's interval.
        undecided: What a missed bound means that the interval still holds.
    """
    if isnan(found):
        return Verdict.INCONCLUSIVE, "which is no number and cannot be compared with"
    if found <= bound:
        return Verdict.PASSED, "no more than"
    if low > bound:
        return Verdict.FAILED, "more than"
    return Verdict(undecided), "which may be chance, but is more than"
