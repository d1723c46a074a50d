"""From a number to its cell: a monotone map with edges pinned by the reference, the same for every window.

Which cells become a bin is decided in `numbers.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CELLS = 16_384
"""Cells between both ends; one more on each side takes whatever lies beyond."""
BLOCK = 65_536
"""Values handled at a time: they and what is made of them stay in the processor's cache."""
_FARTHEST = 2**20
"""Positions beyond this many units count as this far: a sum of squares of a block stays exact in 64 bits."""
_LARGEST = 1e150


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a column's cells are.

    Attributes:
        centre: Value that is moved to 0.
        width: Spread of the squeezed middle part for a column with long tails; 0 for a linear scale.
        low: Lower end of the first cell, after centring and squeezing.
        factor: Cells per unit, after centring and squeezing.
    """

    centre: float
    width: float
    low: float
    factor: float

    @property
    def unit(self) -> float:
        """What one step of a position is worth, in the column's own unit; see `positions`."""
        return 0.5 / self.factor if self.width == 0 else self.width / 64

    def cells(self, values: Floats, into: Floats) -> Integers:
        """Give each value's cell.

        Args:
            values: Finite values, shape (n,).
            into: Room for n floats, overwritten.

        Returns:
            Shape (n,), 0 (below the first cell) to `CELLS + 1` (beyond the last).
        """
        # what overflows is beyond the ends anyway
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(values, self.centre, out=into)
            if self.width:
                np.divide(into, np.minimum(np.abs(into), _LARGEST) + self.width, out=into)
            into -= self.low
            into *= self.factor
            into += 1.0
        ends = into.min(), into.max()
        if ends[0] < 0 or ends[1] >= CELLS + 2:
            np.clip(into, 0, CELLS + 1, out=into)
        return into.astype(np.int64)

    def edges(self) -> Floats:
        """Give the ends of all cells, shape (CELLS + 1,), ascending."""
        squeezed = self.low + np.arange(CELLS + 1) / self.factor
        if self.width:
            squeezed = np.clip(squeezed, -1 + 1e-12, 1 - 1e-12)
            squeezed = squeezed * self.width / (1 - np.abs(squeezed))
        return squeezed + self.centre

    def positions(self, values: Floats) -> Integers:
        """Give values as whole numbers of `unit` from `centre`, so that their sums are exact in any order."""
        # a value that is far out can be infinite in units
        with np.errstate(over="ignore"):
            steps = (values - self.centre) / self.unit
        return np.rint(np.clip(steps, -_FARTHEST, _FARTHEST)).astype(np.int64)


def scale_of(ordered: Floats) -> Scale:
    """Choose the scale for a reference column.

    Args:
        ordered: Its finite values, ascending, shape (n,), n > 0.

    Returns:
        A linear scale where its cells tell the values apart well enough, else the one that does it best.
    """
    # beyond this, differences could overflow
    ordered = np.clip(ordered, -_LARGEST, _LARGEST)
    least, q001, q05, q10, q25, q50, q75, q95, q999, most = np.quantile(
        ordered, [0, 0.001, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 0.999, 1]
    ).tolist()
    span = q999 - q001
    # narrower than this, neighbouring floating-point numbers would have cells between them
    finest = max(abs(least), abs(most), 1e-270) * 1e-9
    # an outlier of the reference must not take the resolution away from everything else
    low, high = max(least, q001 - span), min(most, q999 + span)
    if low == high and _whole(ordered[:1]):
        low, high = low - 1.0, high + 1.0
    elif high - low < finest:
        low, high = low - finest, high + finest
    if high - low < CELLS // 2 and _whole(ordered):
        # whole numbers: cells as wide as a power of a half, with the numbers in their middle
        steps = 2.0 ** np.floor(np.log2(CELLS / (2 * (high - low) + 2)))
        middle = np.floor((low + high) / 2)
        return Scale(float(middle), 0.0, float(-CELLS / 2 / steps - 0.5 / steps), float(steps))
    linear = _fitted(low, high, (low + high) / 2, 0.0)
    found, roughness = linear, _roughness(linear, ordered)
    if roughness <= 1 / 512:
        return found
    spread = max(q75 - q25, (q95 - q05) / 8, (high - low) * 1e-9, 2 * finest)
    for centre in (q50, q25, q10, q05):
        for width in (spread, spread / 8, spread / 64, abs(q25 - q05), abs(q50 - q25)):
            if width <= finest:
                continue
            other = _fitted(least, most, centre, width)
            rough = _roughness(other, ordered)
            if rough < roughness / 2:
                found, roughness = other, rough
    return found


def _fitted(low: float, high: float, centre: float, width: float) -> Scale:
    begin, end = low - centre, high - centre
    if width:
        begin, end = begin / (abs(begin) + width), end / (abs(end) + width)
    # a quarter of the span on each side, for windows that reach farther than the reference
    margin = (end - begin) / 4
    if width:
        margin = min(margin, (1 - end) / 2, (1 + begin) / 2)
    return Scale(centre, width, begin - margin, CELLS / (end - begin + 2 * margin))


def _roughness(scale: Scale, ordered: Floats) -> float:
    """Give the largest share of values that one cell cannot tell apart; values that are equal anyway do not count."""
    cells = scale.cells(ordered, np.empty_like(ordered))
    counts = np.bincount(cells, minlength=CELLS + 2)
    changes = cells[1:][np.diff(ordered) > 0]
    mixed = np.bincount(changes[changes == cells[:-1][np.diff(ordered) > 0]], minlength=CELLS + 2) > 0
    return float(counts[mixed].max(initial=0) / len(ordered))


def _whole(values: Floats) -> bool:
    return bool(np.all(np.floor(values) == values))
