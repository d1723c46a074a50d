"""Kullback-Leibler divergence of the window from the reference, in nats, on groups of bins or categories.

Twice the divergence times n m / (n + m) follows chi-square to second order, as for every f-divergence.
"""

import numpy as np
from scipy.special import chdtrc

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare groups of bins, or categories."""
    p, q = pair.pooled_shares
    value = max(0.0, float((q * np.log(q / p)).sum()))
    return Measured(value, float(chdtrc(pair.freedom, 2 * pair.size * value)) if pair.freedom else 1.0)
