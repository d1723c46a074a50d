"""What is known of a window: counts per column, merged by addition, and kept as bytes.

Counting rows is `counting.py`'s business; comparing with the reference `comparison.py`'s.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from drift.engine.arrays import raw
from drift.engine.levels import LevelCounts
from drift.engine.numbers import NumberCounts
from drift.engine.scale import Integers

Kind = Literal["data", "prediction", "multivariate"]
Key = tuple[Kind, str]
"""An input and an output may have one name."""
Counts = NumberCounts | LevelCounts


@dataclass(frozen=True)
class WindowStatistics:
    """Some rows of a log; portions merge by `+`, in any order, to the same result.

    Attributes:
        rows: Logged rows.
        shares: Rows by the share of the requests that was logged when they came.
        columns: Counts by column; `None` for a column that the profile does not compare.
    """

    rows: int = 0
    shares: Counter[float] = field(default_factory=Counter)
    columns: dict[Key, Counts | None] = field(default_factory=dict)

    def __add__(self, other: "WindowStatistics") -> "WindowStatistics":
        """Merge two portions; a column that one of them lacks is taken from the other."""
        columns = dict(self.columns)
        for key, counts in other.columns.items():
            mine = columns.get(key)
            columns[key] = counts if mine is None else (mine if counts is None else _sum(mine, counts))
        return WindowStatistics(self.rows + other.rows, self.shares + other.shares, columns)

    def to_bytes(self) -> bytes:
        """Give a compact form, a Parquet table with one row a column."""
        rows = [_row(key, counts) for key, counts in sorted(self.columns.items())]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        metadata = {"rows": str(self.rows), **{f"share {share!r}": str(rows) for share, rows in self.shares.items()}}
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
        return bytes(sink.getvalue().to_pybytes())

    @property
    def received(self) -> int:
        """Estimated number of rows that came: each logged one stands for as many as its share left out."""
        return round(sum(rows / share for share, rows in sorted(self.shares.items())))

    @classmethod
    def from_bytes(cls, content: bytes) -> "WindowStatistics":
        """Read what `to_bytes` gave."""
        file = pq.ParquetFile(pa.BufferReader(content))
        metadata = {key.decode(): int(value) for key, value in file.schema_arrow.metadata.items() if key[:5] in _OURS}
        shares = Counter({float(key[6:]): rows for key, rows in metadata.items() if key.startswith("share ")})
        table = file.read(use_threads=False)
        lists = split_lists(table.column("counts"))
        columns = {
            (row["kind"], row["name"]): _counts(row, counts)
            for row, counts in zip(table.drop_columns(["counts"]).to_pylist(), lists, strict=True)
        }
        return cls(metadata["rows"], shares, columns)


def merged(portions: Iterable[WindowStatistics]) -> WindowStatistics:
    """Merge any number of portions."""
    total = WindowStatistics()
    for one in portions:
        total += one
    return total


def split_lists(column: pa.ChunkedArray) -> list[Integers]:
    """Give a column of lists of 64-bit integers as arrays; empty ones for nulls."""
    found: list[Integers] = []
    for chunk in column.chunks:
        values, ends = raw(chunk.values), raw(chunk.offsets)
        found += [values[begin:end] for begin, end in pairwise(ends.tolist())]
    return found


_OURS = (b"rows", b"share")
_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("family", pa.string()),
        ("counts", pa.list_(pa.int64())),
        ("rows", pa.int64()),
        ("missing", pa.int64()),
        ("infinite", pa.int64()),
        ("unreadable", pa.int64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        # sums can be larger than 64 bits
        ("total", pa.string()),
        ("squares", pa.string()),
        ("other_names", pa.list_(pa.string())),
        ("other_counts", pa.list_(pa.int64())),
    ]
)


def _sum(one: Counts, other: Counts) -> Counts:
    if isinstance(one, NumberCounts) and isinstance(other, NumberCounts):
        return one + other
    if isinstance(one, LevelCounts) and isinstance(other, LevelCounts):
        return one + other
    raise TypeError("counts of two different profiles do not merge")


def _row(key: Key, counts: Counts | None) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": key[0], "name": key[1], "family": "none"}
    if counts is None:
        return row
    return {**row, **counts_as_row(counts)}


def counts_as_row(counts: Counts) -> dict[str, Any]:
    """Give counts as the fields of one row."""
    row: dict[str, Any] = {"counts": counts.counts, "rows": counts.rows, "missing": counts.missing}
    if isinstance(counts, LevelCounts):
        return row | {
            "family": "levels",
            "other_names": list(counts.others),
            "other_counts": list(counts.others.values()),
        }
    return row | {
        "family": "numbers",
        "infinite": counts.infinite,
        "unreadable": counts.unreadable,
        "minimum": counts.minimum,
        "maximum": counts.maximum,
        "total": str(counts.total),
        "squares": str(counts.squares),
    }


def _counts(row: dict[str, Any], counts: Integers) -> Counts | None:
    return None if row["family"] == "none" else counts_from_row(row, counts)


def counts_from_row(row: dict[str, Any], counts: Integers) -> Counts:
    """Read what `counts_as_row` gave."""
    if row["family"] == "levels":
        others = dict(zip(row["other_names"], row["other_counts"], strict=True))
        return LevelCounts(counts, row["rows"], row["missing"], others)
    return NumberCounts(
        counts,
        row["rows"],
        row["missing"],
        row["infinite"],
        row["unreadable"],
        row["minimum"],
        row["maximum"],
        int(row["total"]),
        int(row["squares"]),
    )
