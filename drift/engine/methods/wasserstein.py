"""Wasserstein's distance of order 1, in standard deviations of the reference.

What lies beyond the bins counts as their end. The null: times the root of n m / (n + m) it is the integral of a
Brownian bridge's absolute value over the reference's distribution, whose mean and variance are known; a gamma
distribution with these two gives the chance.
"""

import math

import numpy as np
from scipy.special import gammaincc

from drift.engine.methods.moments import deviation
from drift.engine.numbers import NumberCounts
from drift.engine.pair import Measured, Pair
from drift.engine.scale import Floats

_POINTS = 128


def distance(pair: Pair) -> float:
    """Compare numbers: the distance alone."""
    return _distance(pair)[0]


def measure(pair: Pair) -> Measured:
    """Compare numbers."""
    value, spread, gaps = _distance(pair)
    if spread <= 0:
        return Measured(value)
    return Measured(value, _chance(value * spread * math.sqrt(pair.size), np.cumsum(pair.shares[0])[:-1], gaps))


def _distance(pair: Pair) -> tuple[float, float, Floats]:
    """Give the distance, the standard deviation that it is counted in, and the gaps between the edges."""
    bins, there = pair.profile.bins, pair.reference
    if bins is None or not isinstance(there, NumberCounts):
        raise TypeError("Wasserstein's distance is one of numbers")
    spread = deviation(there, bins)
    gaps = np.diff(bins.edges)
    if spread <= 0:
        return 0.0 if pair.effect == 0 else 1.0, 0.0, gaps
    apart = np.abs(pair.distance)
    return float((gaps * (apart[1:] + apart[:-1]) / 2).sum()) / spread, spread, gaps


def _chance(value: float, function: Floats, gaps: Floats) -> float:
    """Give the chance of a larger integral, from the distribution function at the bins' edges and the gaps between."""
    middles = (function[1:] + function[:-1]) / 2
    # a few points are enough for two moments: gaps are put together
    step = max(1, len(gaps) // _POINTS)
    begins = np.arange(0, len(gaps), step)
    widths = np.add.reduceat(gaps, begins)
    places = np.add.reduceat(gaps * middles, begins) / np.maximum(widths, 1e-300)
    deviations = np.sqrt(np.clip(places * (1 - places), 0, None))
    used = deviations > 0
    widths, places, deviations = widths[used], places[used], deviations[used]
    mean = math.sqrt(2 / math.pi) * float((widths * deviations).sum())
    if mean <= 0:
        return 1.0
    lower = np.minimum.outer(places, places)
    upper = np.maximum.outer(places, places)
    like = np.clip(lower * (1 - upper) / np.outer(deviations, deviations), 0, 1)
    # covariance of two absolute values of a bivariate normal distribution
    covariance = 2 / math.pi * np.outer(deviations, deviations) * (np.sqrt(1 - like**2) + like * np.arcsin(like) - 1)
    variance = float(widths @ covariance @ widths)
    return float(gammaincc(mean * mean / variance, value * mean / variance))
