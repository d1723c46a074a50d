"""Hellinger distance (0 to 1), on groups of bins or categories.

Eight times its square times n m / (n + m) follows chi-square to second order.
"""

import math

import numpy as np
from scipy.special import chdtrc

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare groups of bins, or categories."""
    p, q = pair.pooled_shares
    square = max(0.0, float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
    return Measured(math.sqrt(square), float(chdtrc(pair.freedom, 8 * pair.size * square)) if pair.freedom else 1.0)
