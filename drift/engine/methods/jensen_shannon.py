"""Jensen-Shannon distance (the root of the divergence, base 2: 0 to 1), on groups of bins or categories.

Eight times the divergence in nats times n m / (n + m) follows chi-square to second order.
"""

import math

import numpy as np
from scipy.special import chdtrc

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare groups of bins, or categories."""
    p, q = pair.pooled_shares
    middle = (p + q) / 2
    nats = max(0.0, float((p * np.log(p / middle) + q * np.log(q / middle)).sum() / 2))
    p_value = float(chdtrc(pair.freedom, 8 * pair.size * nats)) if pair.freedom else 1.0
    return Measured(math.sqrt(nats / math.log(2)), p_value)
