"""Shannon's entropy of the window's groups or levels, in bits: falls when a column freezes, rises when it spreads."""

import numpy as np

from drift.engine.pair import Pair
from drift.engine.scale import Floats


def measure(pair: Pair) -> tuple[float, float]:
    """Give the entropy of the reference and of the window."""
    bins = pair.profile.bins
    there, here = pair.shares
    if bins is not None:
        there, here = (np.bincount(bins.groups, one).astype(np.float64) for one in (there, here))
    return _bits(there), _bits(here)


def _bits(shares: Floats) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum()) + 0.0
