"""Population stability index, of an input also called characteristic stability index (CSI); groups from the reference.

Its null: PSI n m / (n + m) follows chi-square with groups - 1 degrees of freedom (B. Yurdakul and J. Naranjo,
Statistical properties of the population stability index, J. Risk Model Validation 14, 2020).
"""

import numpy as np
from scipy.special import chdtrc

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare groups of bins, or categories."""
    p, q = pair.pooled_shares
    value = float(((p - q) * np.log(p / q)).sum())
    return Measured(value, float(chdtrc(pair.freedom, pair.size * value)) if pair.freedom else 1.0)
