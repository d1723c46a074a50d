"""Wilcoxon's rank sum (Mann and Whitney's U), ties corrected: finds shifts that Kolmogorov-Smirnov needs more rows for.

The value is the chance that a row of the window is larger than one of the reference, ties counted half.
"""

import math

import numpy as np

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare numbers."""
    there, here = pair.reference.counts.astype(float), pair.window.counts.astype(float)
    n, m = pair.n, pair.m
    below = np.cumsum(there) - there / 2
    wins = float((here * below).sum())
    together, rows = there + here, n + m
    ties = float((together**3 - together).sum()) / (rows * (rows - 1.0))
    variance = n * m / 12 * (rows + 1 - ties)
    if variance <= 0:
        return Measured(0.5, 1.0)
    z = max(0.0, abs(wins - n * m / 2) - 0.5) / math.sqrt(variance)
    return Measured(wins / (n * m), math.erfc(z / math.sqrt(2)))
