"""One column on both sides, as the methods see it: the reference's counts beside the window's, in the same bins."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from drift.engine.levels import LevelCounts
from drift.engine.numbers import NumberCounts
from drift.engine.profile import ColumnProfile
from drift.engine.scale import Floats, Integers

LEAST_EXPECTED = 5.0
"""A category expected fewer times than this in the smaller of the two samples is pooled with other such ones."""


@dataclass(frozen=True)
class Measured:
    """What a method says.

    Attributes:
        value: Its number, in its own unit.
        p_value: Chance of at least this number when both samples come from one distribution; `None` where it has none.
    """

    value: float
    p_value: float | None = None


@dataclass(frozen=True)
class Pair:
    """A column of the reference and of a window; both have values.

    Attributes:
        profile: The reference's column.
        window: The window's counts.
    """

    profile: ColumnProfile
    window: NumberCounts | LevelCounts

    @property
    def reference(self) -> NumberCounts | LevelCounts:
        """The reference's counts."""
        if self.profile.counts is None:
            raise TypeError(f"column {self.profile.name} has no counts: {self.profile.note}")
        return self.profile.counts

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the bins means something and there are many: numbers, but not a few different ones."""
        return self.profile.bins is not None and not self.profile.bins.few

    @property
    def n(self) -> int:
        """Values in the reference."""
        return self.reference.present

    @property
    def m(self) -> int:
        """Values in the window."""
        return self.window.present

    @property
    def size(self) -> float:
        """What both sample sizes together are worth: n m / (n + m)."""
        return self.n * self.m / (self.n + self.m)

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Share of each bin or level, reference and window."""
        return self.reference.counts / self.n, self.window.counts / self.m

    @cached_property
    def distance(self) -> Floats:
        """Difference of both distribution functions at the bins' inner edges, shape (bins - 1,). Numbers only."""
        there, here = self.shares
        steps: Floats = np.cumsum(there - here)[:-1]
        return steps

    @cached_property
    def pooled(self) -> tuple[Integers, Integers]:
        """Counts in categories that are all expected often enough: groups of bins, or levels, rare ones together."""
        there, here = self.reference.counts, self.window.counts
        bins = self.profile.bins
        if bins is not None and not bins.few:
            groups = len(np.unique(bins.groups))
            there = np.bincount(bins.groups, there, groups).astype(np.int64)
            here = np.bincount(bins.groups, here, groups).astype(np.int64)
        return _pool(there, here, min(self.n, self.m) / (self.n + self.m))

    @cached_property
    def pooled_shares(self) -> tuple[Floats, Floats]:
        """Shares of the pooled categories; half a row is put where there is none, so that logarithms exist."""
        there, here = self.pooled
        p, q = np.maximum(there, 0.5), np.maximum(here, 0.5)
        return p / p.sum(), q / q.sum()

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the pooled categories."""
        return len(self.pooled[0]) - 1

    @property
    def effect(self) -> float:
        """How far apart both are, 0 to 1: largest difference of distribution functions, or total variation."""
        if self.is_ordered:
            return float(np.abs(self.distance).max())
        there, here = self.pooled
        return float(np.abs(there / self.n - here / self.m).sum() / 2)


def _pool(there: Integers, here: Integers, share: float) -> tuple[Integers, Integers]:
    together = there + here
    there, here, together = there[together > 0], here[together > 0], together[together > 0]
    rare = together * share < LEAST_EXPECTED
    if not rare.any():
        return there, here
    order = np.argsort(together[~rare], kind="stable")
    kept = [there[~rare][order], here[~rare][order]]
    pool = [int(there[rare].sum()), int(here[rare].sum())]
    # a pool that is itself too rare goes to the smallest category that is not
    while len(kept[0]) and sum(pool) * share < LEAST_EXPECTED:
        pool = [pool[0] + int(kept[0][0]), pool[1] + int(kept[1][0])]
        kept = [kept[0][1:], kept[1][1:]]
    return np.append(kept[0], pool[0]), np.append(kept[1], pool[1])
