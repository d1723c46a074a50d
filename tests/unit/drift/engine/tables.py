"""Tables, profiles and statistics that the engine's tests are made of."""

from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drift.engine.counting import all_inputs, count_file
from drift.engine.pair import Pair
from drift.engine.profile import ReferenceProfile
from drift.engine.profiling import profile_of
from drift.engine.statistics import WindowStatistics


def profiled(columns: dict[str, Any]) -> ReferenceProfile:
    """Give the profile of some columns."""
    table = pa.table(columns)
    return profile_of(table.column_names, table.column, source="test")


def counted(profile: ReferenceProfile, columns: dict[str, Any], group_rows: int = 1_000_000) -> WindowStatistics:
    """Count some columns by a profile, through a Parquet file with row groups of a size."""
    file = BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=group_rows)
    file.seek(0)
    return count_file(file, profile, all_inputs)


def pair(reference: Any, window: Any) -> Pair:
    """Give one column on both sides."""
    profile = profiled({"c": reference})
    counts = counted(profile, {"c": window}).columns["data", "c"]
    assert counts is not None
    return Pair(profile.columns["c"], counts)


def ten_columns(rng: np.random.Generator, rows: int, columns: int = 10, shift: float = 0.0) -> dict[str, Any]:
    """Give six normal, two lognormal and two categorical columns of every ten; the first one shifted."""
    found: dict[str, Any] = {}
    for place in range(columns):
        kind = place % 10
        if kind < 6:
            found[f"c{place}"] = rng.normal(shift if place == 0 else 0.0, 1.0, rows)
        elif kind < 8:
            found[f"c{place}"] = rng.lognormal(0.0, 1.0, rows)
        else:
            found[f"c{place}"] = rng.integers(0, 5 if kind == 8 else 20, rows).astype(str)
    return found
