"""One pass over a window's Parquet: each column counted in the profile's bins. Merging counts is `statistics.py`'s."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drift.engine.arrays import counted, level_name, numbers
from drift.engine.levels import LevelCounter
from drift.engine.numbers import NumberCounter
from drift.engine.profile import ReferenceProfile
from drift.engine.profiling import NameOf
from drift.engine.scale import BLOCK, Floats
from drift.engine.statistics import Counts, Key, WindowStatistics

SHARE = "share"
Keep = Callable[[pa.Table], pa.Array]


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a file count.

    Attributes:
        columns: What the decision needs.
        keep: Gives one truth value a row, from these columns.
    """

    columns: tuple[str, ...]
    keep: Keep


def count_file(
    source: Any,
    profile: ReferenceProfile,
    columns: Callable[[pa.Schema], Mapping[str, Key]],
    *,
    rows: RowFilter | None = None,
    hashes: Mapping[str, NameOf] | None = None,
) -> WindowStatistics:
    """Count the rows of one Parquet file, one column of one row group in memory at a time.

    Args:
        source: Path or binary file.
        profile: Where to.
        columns: Says which of the file's columns are to be counted, and as what.
        rows: Which rows count; all without it.
        hashes: For columns whose profile holds keyed hashes: what gives a raw value's hash.

    Returns:
        The counts.
    """
    # a first look at the schema: text columns are to be read as dictionaries
    metadata = pq.read_metadata(source)
    schema = metadata.schema.to_arrow_schema()
    if hasattr(source, "seek"):
        source.seek(0)
    chosen = columns(schema)
    room = np.empty(BLOCK)
    counters = {stored: _counter(profile, key, room) for stored, key in chosen.items()}
    as_levels = [stored for stored, one in counters.items() if isinstance(one, LevelCounter)]
    text = [stored for stored in as_levels if pa.types.is_string(schema.field(stored).type)]
    file = pq.ParquetFile(source, metadata=metadata, read_dictionary=text)
    total, shares = 0, Counter[float]()
    for group in range(metadata.num_row_groups):
        kept = None
        count = metadata.row_group(group).num_rows
        if rows is not None:
            kept = rows.keep(file.read_row_group(group, columns=list(rows.columns), use_threads=False))
            count = pc.sum(kept).as_py() or 0
            if count == 0:
                continue
            if count == len(kept):
                kept = None
        total += count
        if SHARE in schema.names and SHARE not in chosen:
            shares += _shares(_read(file, group, SHARE, kept))
        else:
            shares[1.0] += count
        for stored, counter in counters.items():
            if counter is None:
                continue
            values = _read(file, group, stored, kept)
            if isinstance(counter, NumberCounter):
                for some, nulls, unreadable in numbers(values):
                    counter.add(some, nulls, unreadable)
            else:
                name_of = (hashes or {}).get(chosen[stored][1], level_name) if counter.levels.hashed else level_name
                for names, nulls in counted(values, name_of):
                    counter.add(names, nulls)
    found: dict[Key, Counts | None] = {
        chosen[stored]: None if counter is None else counter.result() for stored, counter in counters.items()
    }
    return WindowStatistics(total, shares, found)


def all_inputs(schema: pa.Schema) -> dict[str, Key]:
    """Take every column of a file as an input of its own name."""
    return {name: ("data", name) for name in schema.names}


def _counter(profile: ReferenceProfile, key: Key, room: Floats) -> NumberCounter | LevelCounter | None:
    column = profile.columns.get(key[1])
    if column is None:
        return None
    if column.bins is not None:
        return NumberCounter(column.bins, room)
    return None if column.levels is None else LevelCounter(column.levels)


def _read(file: pq.ParquetFile, group: int, column: str, kept: pa.Array | None) -> pa.ChunkedArray:
    values = file.read_row_group(group, columns=[column], use_threads=False).column(0)
    return values if kept is None else values.filter(kept)


def _shares(column: pa.ChunkedArray) -> Counter[float]:
    # segments from before there was one hold everything
    return Counter({one["values"] or 1.0: one["counts"] for one in pc.value_counts(column.fill_null(1.0)).to_pylist()})
