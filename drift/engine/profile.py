"""A version's reference as a profile: bins, levels, counts. A check reads this and never the reference's rows.

Building it is `profiling.py`'s business, keeping it in MLflow `drift/profiles.py`'s.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drift.engine.levels import LevelCounts, Levels
from drift.engine.numbers import NumberBins, NumberCounts
from drift.engine.scale import Scale
from drift.engine.statistics import counts_as_row, counts_from_row, split_lists

FORMAT = 1
"""Changes when a profile of before would be misread; it is then made anew from the reference."""


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the reference.

    Attributes:
        name: Its name.
        bins: Where numbers are counted; `None` for categories and for columns that are not compared.
        levels: Which categories are counted.
        counts: The reference's own counts.
        note: Why the column is not compared; empty when it is.
    """

    name: str
    bins: NumberBins | None = None
    levels: Levels | None = None
    counts: NumberCounts | LevelCounts | None = None
    note: str = ""


@dataclass(frozen=True)
class ReferenceProfile:
    """A whole reference.

    Attributes:
        source: What the policy calls it.
        rows: Number of its rows.
        columns: By name.
    """

    source: str
    rows: int
    columns: dict[str, ColumnProfile]

    @cached_property
    def id(self) -> str:
        """Digest of the content: window statistics that were counted by it carry it, too."""
        return hashlib.sha256(self._table_bytes).hexdigest()[:32]

    def to_bytes(self) -> bytes:
        """Give it as a Parquet table with one row a column: readable by anything that reads Parquet."""
        return self._table_bytes

    @cached_property
    def _table_bytes(self) -> bytes:
        table = pa.Table.from_pylist([_row(one) for one in self.columns.values()], schema=_SCHEMA)
        about = {"format": FORMAT, "source": self.source, "rows": self.rows}
        sink = pa.BufferOutputStream()
        table = table.replace_schema_metadata({"mlflow_ext.profile": json.dumps(about, sort_keys=True)})
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue().to_pybytes())

    @classmethod
    def from_bytes(cls, content: bytes) -> "ReferenceProfile | None":
        """Read what `to_bytes` gave; `None` for another format."""
        file = pq.ParquetFile(pa.BufferReader(content))
        about = json.loads(file.schema_arrow.metadata[b"mlflow_ext.profile"])
        if about["format"] != FORMAT:
            return None
        # the edges are for people: they follow from the scale
        table = file.read([name for name in _SCHEMA.names if name != "edges"], use_threads=False)
        lists = {name: split_lists(table.column(name)) for name in _LISTS}
        columns = [
            _column(row, {name: lists[name][place] for name in _LISTS})
            for place, row in enumerate(table.drop_columns(list(_LISTS)).to_pylist())
        ]
        profile = cls(about["source"], about["rows"], {one.name: one for one in columns})
        # what was read is what others counted by
        profile.__dict__["_table_bytes"] = content
        return profile


_LISTS = ("counts", "starts", "groups")
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("family", pa.string()),
        ("note", pa.string()),
        ("rows", pa.int64()),
        ("missing", pa.int64()),
        ("infinite", pa.int64()),
        ("unreadable", pa.int64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("total", pa.string()),
        ("squares", pa.string()),
        ("centre", pa.float64()),
        ("width", pa.float64()),
        ("low", pa.float64()),
        ("factor", pa.float64()),
        ("few", pa.bool_()),
        ("starts", pa.list_(pa.int64())),
        ("groups", pa.list_(pa.int64())),
        ("edges", pa.list_(pa.float64())),
        ("counts", pa.list_(pa.int64())),
        ("levels", pa.list_(pa.string())),
        ("complete", pa.bool_()),
        ("hashed", pa.bool_()),
        ("other_names", pa.list_(pa.string())),
        ("other_counts", pa.list_(pa.int64())),
    ]
)


def _row(column: ColumnProfile) -> dict[str, Any]:
    row: dict[str, Any] = {"name": column.name, "family": "none", "note": column.note}
    if column.counts is not None:
        row |= counts_as_row(column.counts)
    if column.bins is not None:
        bins, scale = column.bins, column.bins.scale
        row |= {"centre": scale.centre, "width": scale.width, "low": scale.low, "factor": scale.factor}
        row |= {"few": bins.few, "starts": bins.starts, "groups": bins.groups, "edges": bins.edges}
    if column.levels is not None:
        levels = column.levels
        row |= {"levels": list(levels.names), "complete": levels.complete, "hashed": levels.hashed}
    return row


def _column(row: dict[str, Any], lists: dict[str, Any]) -> ColumnProfile:
    if row["family"] == "none":
        return ColumnProfile(row["name"], note=row["note"])
    counts = counts_from_row(row, lists["counts"])
    if row["family"] == "levels":
        levels = Levels(tuple(row["levels"]), row["complete"], row["hashed"])
        return ColumnProfile(row["name"], levels=levels, counts=counts, note=row["note"])
    scale = Scale(row["centre"], row["width"], row["low"], row["factor"])
    bins = NumberBins(scale, np.asarray(lists["starts"]), np.asarray(lists["groups"]), row["few"])
    return ColumnProfile(row["name"], bins=bins, counts=counts, note=row["note"])
