"""Data of the drift benchmarks: of every ten columns six normal, two lognormal, two of 5 and 20 categories."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

AT_ONCE = 1_000_000
LEVELS = {8: 5, 9: 20}


def columns(
    seed: list[int], rows: int, count: int, shift: float = 0.0, category_shift: float = 0.0
) -> dict[str, pa.Array]:
    """Make columns.

    Args:
        seed: Of the generator.
        rows: Rows.
        count: Columns `c0`, `c1` …
        shift: Of `c0`, in standard deviations.
        category_shift: Share of `c8`'s rows that move to its first category.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, pa.Array] = {}
    for place in range(count):
        kind = place % 10
        if kind < 6:
            found[f"c{place}"] = pa.array(rng.normal(shift if place == 0 else 0.0, 1.0, rows))
        elif kind < 8:
            found[f"c{place}"] = pa.array(rng.lognormal(0.0, 1.0, rows))
        else:
            levels = rng.integers(0, LEVELS[kind], rows).astype(np.int32)
            if place == 8 and category_shift:
                levels[rng.random(rows) < category_shift] = 0
            names = pa.array([f"level {number}" for number in range(LEVELS[kind])])
            found[f"c{place}"] = pa.DictionaryArray.from_arrays(pa.array(levels), names).cast(pa.string())
    return found


def write(path: Path, seed: list[int], rows: int, count: int) -> None:
    """Write a file of so many rows, a million at a time."""
    schema = pa.table(columns(seed, 1, count)).schema
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, rows, AT_ONCE):
            writer.write_table(pa.table(columns([*seed, begin], min(AT_ONCE, rows - begin), count)))
