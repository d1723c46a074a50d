"""A column of numbers: bins pinned by the reference, and exact counts in them that merge by addition.

Text and truth values are counted in `levels.py`; which values come, `counting.py` knows.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from drift.engine.scale import BLOCK, CELLS, Floats, Integers, Scale, scale_of

BINS = 1_024
"""Bins of about equal reference counts; a value with a larger share gets a bin of its own."""
GROUPS = 10
"""Groups of bins for the methods that compare a few shares (PSI and its kin)."""
FEW_VALUES = 20
"""A reference column with at most so many different values is compared like categories."""
_TAIL_BINS = 8


@dataclass(frozen=True)
class NumberBins:
    """Where a column's bins are.

    Attributes:
        scale: The cells they are made of.
        starts: First cell of each bin, ascending from 0, shape (bins,).
        groups: Group of each bin, shape (bins,), ascending from 0.
        few: Whether the reference has few different values.
    """

    scale: Scale
    starts: Integers
    groups: Integers
    few: bool

    def __len__(self) -> int:
        """Give the number of bins, the two beyond the ends included."""
        return len(self.starts)

    @cached_property
    def edges(self) -> Floats:
        """Give the inner ends of the bins in the column's own unit, shape (bins - 1,)."""
        inner: Floats = self.scale.edges()[self.starts[1:] - 1]
        return inner

    @cached_property
    def cell_positions(self) -> Integers:
        """Give the middle of each inner cell as a position, shape (CELLS + 2,); 0 for the outer two."""
        edges = self.scale.edges()
        middles = self.scale.positions((edges[:-1] + edges[1:]) / 2)
        return np.concatenate(([0], middles, [0])).astype(np.int64)


@dataclass(slots=True)
class NumberCounts:
    """What is known of some rows of a column; rows may come in any order and any portions.

    Attributes:
        counts: Values per bin, shape (bins,).
        rows: All rows.
        missing: Rows without a value, NaN and the unreadable among them.
        infinite: Rows with an infinite value, counted in the outer bins.
        unreadable: Rows with something that is no number.
        minimum: Smallest finite value; infinity without one.
        maximum: Largest finite value; minus infinity without one.
        total: Sum of the positions (`Scale.positions`) of the finite values.
        squares: Sum of their squares.
    """

    counts: Integers
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    unreadable: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    total: int = 0
    squares: int = 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    def __add__(self, other: "NumberCounts") -> "NumberCounts":
        """Merge two portions."""
        return NumberCounts(
            self.counts + other.counts,
            self.rows + other.rows,
            self.missing + other.missing,
            self.infinite + other.infinite,
            self.unreadable + other.unreadable,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares,
        )


@dataclass
class NumberCounter:
    """Counts values of one column.

    Attributes:
        bins: Where to.
        room: Space of `BLOCK` floats to compute in; counters that are used in turns share it.
    """

    bins: NumberBins
    room: Floats = field(default_factory=lambda: np.empty(BLOCK))
    _cells: Integers = field(default_factory=lambda: np.zeros(CELLS + 2, dtype=np.int64))
    _so_far: NumberCounts = field(default_factory=lambda: NumberCounts(np.zeros(0, dtype=np.int64)))

    def add(self, values: Floats, nulls: int = 0, unreadable: int = 0) -> None:
        """Take in some values.

        Args:
            values: Shape (n,), NaN for a missing one.
            nulls: Rows without a value that are not among them.
            unreadable: Rows with something else than a number, not among them either.
        """
        mine = self._so_far
        mine.rows += len(values) + nulls + unreadable
        mine.missing += nulls + unreadable
        mine.unreadable += unreadable
        for begin in range(0, len(values), BLOCK):
            block = values[begin : begin + BLOCK]
            least, most = float(block.min()), float(block.max())
            if not (math.isfinite(least) and math.isfinite(most)):
                block = self._finite(block)
                if not len(block):
                    continue
                least, most = float(block.min()), float(block.max())
            mine.minimum, mine.maximum = min(mine.minimum, least), max(mine.maximum, most)
            cells = self.bins.scale.cells(block, self.room[: len(block)])
            found = np.bincount(cells, minlength=CELLS + 2)
            self._cells += found
            if found[0] or found[-1]:
                # beyond both ends: few, so they can be taken one by one
                far = self.bins.scale.positions(block[(cells == 0) | (cells == CELLS + 1)])
                mine.total += int(far.sum())
                mine.squares += int((far * far).sum())

    def result(self) -> NumberCounts:
        """Give what was counted."""
        one = self._so_far
        inner, positions = self._cells, self.bins.cell_positions
        used = np.flatnonzero(inner)
        counted, places = inner[used], positions[used]
        counts = np.add.reduceat(inner, self.bins.starts)
        squares = places * places
        # in two parts, so that no sum passes 63 bits, however many rows there are
        upper, lower = int((counted * (squares >> 20)).sum()), int((counted * (squares & 0xFFFFF)).sum())
        return NumberCounts(
            counts,
            one.rows,
            one.missing,
            one.infinite,
            one.unreadable,
            one.minimum,
            one.maximum,
            one.total + int((counted * places).sum()),
            one.squares + (upper << 20) + lower,
        )

    def _finite(self, block: Floats) -> Floats:
        bad = int(np.count_nonzero(np.isnan(block)))
        above = int(np.count_nonzero(block == np.inf))
        below = int(np.count_nonzero(block == -np.inf))
        self._so_far.missing += bad
        self._so_far.infinite += above + below
        # they have a place in the order, and none in a sum: the outer cells' positions are 0
        self._cells[0] += below
        self._cells[-1] += above
        return np.ascontiguousarray(block[np.isfinite(block)])


def bins_of(values: NDArray[np.float64]) -> NumberBins:
    """Pin the bins of a reference column.

    Args:
        values: Its values, NaN and infinity allowed; at least one is finite.
    """
    ordered = np.sort(values[np.isfinite(values)])
    scale = scale_of(ordered)
    inner = np.bincount(scale.cells(ordered, np.empty_like(ordered)), minlength=CELLS + 2)
    total = int(inner.sum())
    step = np.cumsum(inner) * BINS // total
    used = np.flatnonzero(inner)
    few = 1 + int(np.count_nonzero(np.diff(ordered))) <= FEW_VALUES
    heavy = used if few else np.flatnonzero(inner * BINS >= total)
    first, last = int(used[0]), int(used[-1])
    tails = [
        *np.linspace(1, first, _TAIL_BINS, dtype=np.int64).tolist(),
        *np.linspace(last + 1, CELLS + 1, _TAIL_BINS, dtype=np.int64).tolist(),
    ]
    starts = np.unique(
        np.concatenate(([0, 1, CELLS + 1], np.flatnonzero(np.diff(step)) + 1, heavy, heavy + 1, tails)).astype(np.int64)
    )
    starts = starts[starts <= CELLS + 1]
    counts = np.add.reduceat(inner, starts)
    return NumberBins(scale, starts, _groups(counts, few), few)


def _groups(counts: Integers, few: bool) -> Integers:
    """Put bins together to groups of about equal reference counts; each of a few values keeps its own."""
    if few:
        # what lies between two values belongs to the lower one
        kept: Integers = np.maximum(np.cumsum(counts > 0) - 1, 0)
        return kept
    total = counts.sum()
    middle = np.cumsum(counts) - counts / 2
    groups = np.minimum((middle * GROUPS / total).astype(np.int64), GROUPS - 1)
    # a heavy bin can leave numbers unused
    found: Integers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return found
