"""Two-sample Kolmogorov-Smirnov: the largest difference of the distribution functions, read at the bins' edges.

The null is Kolmogorov's, with Stephens' correction for finite sizes (M. A. Stephens, JRSS B 32, 1970). Ties, and
reading at the edges only, make the difference smaller, never larger.
"""

import math

import numpy as np
from scipy.special import kolmogorov

from drift.engine.pair import Measured, Pair


def measure(pair: Pair) -> Measured:
    """Compare numbers."""
    largest = float(np.abs(pair.distance).max())
    root = math.sqrt(pair.size)
    return Measured(largest, float(kolmogorov((root + 0.12 + 0.11 / root) * largest)))
