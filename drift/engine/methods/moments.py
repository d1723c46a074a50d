"""Mean, standard deviation, ends, missing values and what lies outside the reference's range: numbers to look at.

Mean and deviation are read from the cells: exact to the width of one (the span over 16,384 for most columns); a value
farther out than 32 spans counts as that far.
"""

import math

from drift.engine.numbers import NumberBins, NumberCounts
from drift.engine.pair import Pair


def mean(counts: NumberCounts, bins: NumberBins) -> float:
    """Give the mean of the finite values."""
    values = counts.present - counts.infinite
    return bins.scale.centre + bins.scale.unit * counts.total / values if values else math.nan


def deviation(counts: NumberCounts, bins: NumberBins) -> float:
    """Give the standard deviation of the finite values."""
    values = counts.present - counts.infinite
    if values < 2:
        return 0.0
    # whole numbers of any size: nothing cancels
    spread = counts.squares * values - counts.total**2
    return bins.scale.unit * math.sqrt(spread / (values * (values - 1)))


def measures(pair: Pair) -> dict[str, float]:
    """Give the window's own numbers; empty for categories."""
    bins, window, reference = pair.profile.bins, pair.window, pair.reference
    if bins is None or not isinstance(window, NumberCounts) or not isinstance(reference, NumberCounts):
        return {}
    return {
        "mean": mean(window, bins),
        "standard_deviation": deviation(window, bins),
        "minimum": window.minimum,
        "maximum": window.maximum,
        "infinite_share": window.infinite / window.rows,
        "out_of_range_share": out_of_range(pair),
    }


def out_of_range(pair: Pair) -> float:
    """Give the share of the window's values in bins below the reference's least or above its largest."""
    filled = pair.reference.counts.nonzero()[0]
    outside = pair.window.counts[: filled[0]].sum() + pair.window.counts[filled[-1] + 1 :].sum()
    return float(outside / pair.m)
