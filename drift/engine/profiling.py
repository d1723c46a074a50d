"""From a reference's rows to its profile, column by column. What a profile holds says `profile.py`."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from drift.engine.arrays import counted, is_number, is_time, level_name, numbers
from drift.engine.levels import LevelCounter, is_identifier, levels_of
from drift.engine.numbers import NumberCounter, bins_of
from drift.engine.profile import ColumnProfile, ReferenceProfile

NameOf = Callable[[Any], str | None]


def profile_of(
    names: Collection[str],
    column: Callable[[str], pa.ChunkedArray],
    *,
    source: str,
    hashed: Mapping[str, NameOf] | None = None,
) -> ReferenceProfile:
    """Make the profile of a reference.

    Args:
        names: Its columns.
        column: Gives one column's values; asked for once each, so that only one is in memory.
        source: What the policy calls the reference.
        hashed: For columns that the prediction log holds hashed: what gives a value's hash.

    Returns:
        The profile; the same rows in any order give the same one.
    """
    hashed = hashed or {}
    found: dict[str, ColumnProfile] = {}
    rows = 0
    for name in names:
        values = column(name)
        rows = len(values)
        found[name] = _column(name, values, hashed.get(name))
    return ReferenceProfile(source, rows, found)


def _column(name: str, values: pa.ChunkedArray, hashed: NameOf | None) -> ColumnProfile:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if values.null_count == len(values):
        return ColumnProfile(name, note="the reference has no value in it")
    if is_time(kind):
        return ColumnProfile(name, note="times move on by nature")
    if pa.types.is_nested(kind):
        return ColumnProfile(name, note="lists and structures are not compared")
    if is_number(kind) and hashed is None and not pa.types.is_dictionary(values.type):
        return _numbers(name, values)
    return _levels(name, values, hashed)


def _numbers(name: str, values: pa.ChunkedArray) -> ColumnProfile:
    portions = list(numbers(values))
    together = np.concatenate([one for one, _, _ in portions])
    if not np.isfinite(together).any():
        return ColumnProfile(name, note="the reference has no finite value in it")
    bins = bins_of(together)
    counter = NumberCounter(bins)
    for one, nulls, unreadable in portions:
        counter.add(one, nulls, unreadable)
    return ColumnProfile(name, bins=bins, counts=counter.result())


def _levels(name: str, values: pa.ChunkedArray, hashed: NameOf | None) -> ColumnProfile:
    portions = list(counted(values, hashed or level_name))
    together: Counter[str] = Counter()
    for some, _ in portions:
        for level, count in some:
            together[level] += count
    if is_identifier(together):
        return ColumnProfile(name, note="nearly every value is different, like an identifier; see policy drift.ignore")
    levels = levels_of(together, hashed=hashed is not None)
    counter = LevelCounter(levels)
    for some, nulls in portions:
        counter.add(some, nulls)
    return ColumnProfile(name, levels=levels, counts=counter.result())
