"""Missing values: the difference of both shares, by Fisher's exact test, for one missing value as for a million."""

import numpy as np
from scipy.special import chdtrc, gammaln

from drift.engine.levels import LevelCounts
from drift.engine.numbers import NumberCounts
from drift.engine.pair import Measured
from drift.engine.scale import Floats, Integers

_MOST_EXACT = 20_000


def measure(reference: NumberCounts | LevelCounts, window: NumberCounts | LevelCounts) -> Measured:
    """Compare the shares of rows without a value; the number is window minus reference, -1 to 1."""
    change = window.missing / window.rows - reference.missing / reference.rows
    return Measured(change, exact(reference.missing, reference.rows, window.missing, window.rows))


def exact(there: int, n: int, here: int, m: int) -> float:
    """Give the two-sided chance (a tail doubled) of `here` of m rows beside `there` of n, when both have one share."""
    marked, rows = there + here, n + m
    if marked in (0, rows):
        return 1.0
    # the rarer of both answers makes the shorter sum
    if 2 * marked > rows:
        marked, here = rows - marked, m - here
    if marked > _MOST_EXACT:
        expected = marked * m / rows
        spread = expected * (1 - marked / rows) * n / rows
        return float(chdtrc(1, max(0.0, abs(here - expected) - 0.5) ** 2 / spread))
    count = np.arange(max(0, marked - n), min(marked, m) + 1)
    logs = _choose(m, count) + _choose(n, marked - count) - _choose(rows, np.array([marked]))
    chances = np.exp(logs)
    upper, lower = float(chances[count >= here].sum()), float(chances[count <= here].sum())
    return min(1.0, 2 * min(upper, lower))


def _choose(of: int, some: Integers) -> Floats:
    return np.asarray(gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1))
