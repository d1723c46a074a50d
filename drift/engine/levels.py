"""A column of categories: the reference's levels, and exact counts of them that merge by addition.

Numbers are counted in `numbers.py`; which levels are pooled for a test says `methods/chi_square.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np

from drift.engine.scale import Integers

MOST_LEVELS = 1_000
"""Levels of the reference that are counted by name; the rest of them together."""
NAMED_NEW = 64
"""Levels unknown to the reference that are kept by name."""
_IDENTIFIER_ROWS = 100
_IDENTIFIER_SHARE = 0.5


@dataclass(frozen=True)
class Levels:
    """The levels of a reference column.

    Attributes:
        names: Those counted by name, the most frequent first.
        complete: Whether these are all; else an unknown level may be a rare one of the reference.
        hashed: Whether they are keyed hashes.
    """

    names: tuple[str, ...]
    complete: bool
    hashed: bool = False

    def __len__(self) -> int:
        """Give the number of counts: one a name, one for all others."""
        return len(self.names) + 1

    @cached_property
    def places(self) -> dict[str, int]:
        """Count's place by name."""
        return {name: place for place, name in enumerate(self.names)}


@dataclass(slots=True)
class LevelCounts:
    """What is known of some rows of a column; rows may come in any order and any portions.

    Attributes:
        counts: Rows per level, the last for all levels that are not named, shape (levels + 1,).
        rows: All rows.
        missing: Rows without a value.
        others: Rows of unnamed levels; of all there are, those whose names hash lowest, so that merging loses none.
        unnamed: How many different unnamed levels there are at least.
    """

    counts: Integers
    rows: int = 0
    missing: int = 0
    others: dict[str, int] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def different(self) -> int:
        """Number of different levels; an estimate where more than `NAMED_NEW` are unnamed."""
        named = int(np.count_nonzero(self.counts[:-1]))
        if len(self.others) < NAMED_NEW:
            return named + len(self.others)
        # the k-th smallest of n hashes lies at about k/n of their range
        largest = max(_hash(name) for name in self.others)
        return named + round((NAMED_NEW - 1) * 2**64 / largest)

    def __add__(self, other: "LevelCounts") -> "LevelCounts":
        """Merge two portions."""
        merged = Counter(self.others)
        merged.update(other.others)
        return LevelCounts(
            self.counts + other.counts, self.rows + other.rows, self.missing + other.missing, lowest(merged)
        )


@dataclass
class LevelCounter:
    """Counts values of one column.

    Attributes:
        levels: Which levels there are.
    """

    levels: Levels
    _rows: int = 0
    _missing: int = 0
    _counts: list[int] = field(default_factory=list)
    _others: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin with zeros."""
        self._counts = [0] * len(self.levels)

    def add(self, counted: Iterable[tuple[str, int]], nulls: int = 0) -> None:
        """Take in some values.

        Args:
            counted: Levels and how often each came; a level may come several times.
            nulls: Rows without a value.
        """
        places, last = self.levels.places, len(self.levels) - 1
        self._missing += nulls
        self._rows += nulls
        for name, count in counted:
            if not count:
                continue
            self._rows += count
            place = places.get(name, last)
            self._counts[place] += count
            if place == last:
                self._others[name] += count
        if len(self._others) > 100 * NAMED_NEW:
            self._others = Counter(lowest(self._others))

    def result(self) -> LevelCounts:
        """Give what was counted."""
        counts = np.array(self._counts, dtype=np.int64)
        return LevelCounts(counts, self._rows, self._missing, lowest(self._others))


def levels_of(counted: Mapping[str, int], *, hashed: bool = False) -> Levels:
    """Pin the levels of a reference column.

    Args:
        counted: Rows by level.
        hashed: Whether the levels are keyed hashes.
    """
    ordered = sorted(counted, key=lambda name: (-counted[name], name))
    return Levels(tuple(ordered[:MOST_LEVELS]), len(ordered) <= MOST_LEVELS, hashed)


def is_identifier(counted: Mapping[str, int]) -> bool:
    """Tell whether nearly every row has a level of its own."""
    rows = sum(counted.values())
    return rows >= _IDENTIFIER_ROWS and len(counted) > rows * _IDENTIFIER_SHARE


def lowest(others: Mapping[str, int]) -> dict[str, int]:
    """Keep the levels whose names hash lowest: whichever way portions are merged, the same ones stay, all counted."""
    if len(others) <= NAMED_NEW:
        return dict(sorted(others.items()))
    return {name: others[name] for name in sorted(sorted(others, key=_hash)[:NAMED_NEW])}


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
