"""Categories by number: how many different ones, which are new to the reference, which of its own have vanished."""

import math
from dataclasses import dataclass

import numpy as np

from drift.engine.levels import LevelCounts
from drift.engine.pair import Pair

_VANISHED = 1e-3
"""A level counts as vanished when a window without it had less than this chance by the reference's share."""


@dataclass(frozen=True)
class Cardinality:
    """What came and what went.

    Attributes:
        different: Different levels of the window.
        new: Levels that the reference does not have, the most frequent first; unknown where it has too many to know.
        new_share: Share of the window's values with such a level.
        vanished: Levels that a window of this size would hold, and does not.
    """

    different: int
    new: tuple[str, ...]
    new_share: float
    vanished: tuple[str, ...]


def measure(pair: Pair) -> Cardinality | None:
    """Compare levels; `None` for numbers."""
    levels, here, there = pair.profile.levels, pair.window, pair.reference
    if levels is None or not isinstance(here, LevelCounts):
        return None
    gone = np.flatnonzero((here.counts[:-1] == 0) & (there.counts[:-1] > 0))
    vanished = tuple(
        levels.names[place]
        for place in gone.tolist()
        if pair.m * math.log1p(-min(0.999999, there.counts[place] / pair.n)) < math.log(_VANISHED)
    )
    if not levels.complete:
        return Cardinality(here.different, (), 0.0, vanished)
    new = tuple(sorted(here.others, key=lambda name: (-here.others[name], name)))
    return Cardinality(here.different, new, float(here.counts[-1] / pair.m), vanished)
