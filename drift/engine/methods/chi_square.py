"""Two-sample chi-square of categories, rare ones pooled.

Both sides are samples: the reference is not taken for exact.
"""

from scipy.special import chdtrc

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare categories, or numbers by groups of bins."""
    there, here = pair.pooled
    if pair.freedom < 1:
        return Measured(0.0, 1.0)
    p, q = there / pair.n, here / pair.m
    both = (there + here) / (pair.n + pair.m)
    value = float(pair.size * ((p - q) ** 2 / both).sum())
    return Measured(value, float(chdtrc(pair.freedom, value)))
