"""A bounded sample of a window's rows, for reports and for what needs rows; and its labelled answers.

Verdicts do not come from samples: see `window.py`.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drift.reference import spread
from drift.rows import merged
from drift.segment_files import WindowRows
from drift.window import WindowLog, rows_of
from mlflow_ext.domain.segments import Segment
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.segment_files import INPUT, META, NAME, OUTPUT, ROLE, open_segment, part, reading

MOST_GROUPS = 64
"""Row groups that a sample is drawn from; of more than these, evenly spaced ones."""


def sample_of(log: WindowLog, most: int, share: float | None) -> WindowRows:
    """Draw at most so many rows of a window, spread evenly over its time; the same rows each time.

    Args:
        log: The window.
        most: Bound of the sample's size.
        share: Smallest share by which the window was logged, where there are several.

    Raises:
        UnavailableError: A segment, or PostgreSQL, cannot be read.
    """
    return reading(log.segments, lambda segments: _draw(log, segments, most, share))


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """The rows of a window that have feedback.

    Attributes:
        inputs: Those inputs that were asked for.
        outputs: What was predicted.
        labels: What turned out to be true, one a row.
        lags_s: Seconds from each prediction to its label.
    """

    inputs: pd.DataFrame
    outputs: pd.DataFrame
    labels: "pd.Series[Any]"
    lags_s: "np.ndarray[tuple[int], np.dtype[np.float64]]"


def labelled(log: WindowLog, labels: Labels, share: float | None, inputs: Collection[str] = ()) -> LabelledRows:
    """Give the window's rows that have feedback.

    Args:
        log: The window.
        labels: What became of its rows.
        share: Smallest share by which the window was logged, where there are several.
        inputs: Inputs that are wanted beside.

    Raises:
        UnavailableError: A segment, or PostgreSQL, cannot be read.
    """

    def read(segments: list[Segment]) -> LabelledRows:
        outputs: list[pa.Table] = []
        found: list[Any] = []
        lags_s: list[float] = []
        rows = rows_of(log.window, share)
        for one in segments:
            file = pq.ParquetFile(open_segment(one.uri))
            names = _named(file.schema_arrow, OUTPUT)
            names += [
                one.name
                for one in file.schema_arrow
                if inputs and one.metadata.get(ROLE) == INPUT and one.metadata[NAME].decode() in inputs
            ]
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=["request_id", "row", "at", *names])
                table = table.filter(rows.keep(table))
                ids = table.column("request_id").to_pylist()
                known = labels.received(log.model, ids) if ids else {}
                if not known:
                    continue
                mine = [known.get(key) for key in zip(ids, table.column("row").to_pylist(), strict=True)]
                outputs.append(table.filter(pa.array([one is not None for one in mine])))
                found += [one.value for one in mine if one is not None]
                times = zip(table.column("at").to_pylist(), mine, strict=True)
                lags_s += [(one.received_at - at).total_seconds() for at, one in times if one is not None]
        table = merged(outputs) if outputs else None
        sent, said = (pd.DataFrame() if table is None else part(table, role) for role in (INPUT, OUTPUT))
        return LabelledRows(sent, said, pd.Series(found, dtype=object), np.array(lags_s, dtype=float))

    return reading(log.segments, read)


def _draw(log: WindowLog, segments: Sequence[Segment], most: int, share: float | None) -> WindowRows:
    files = [pq.ParquetFile(open_segment(one.uri)) for one in segments]
    groups = [
        (place, group, file.metadata.row_group(group).num_rows)
        for place, file in enumerate(files)
        for group in range(file.metadata.num_row_groups)
    ]
    chosen = [groups[place] for place in spread(len(groups), MOST_GROUPS, _seed(log, 0)).tolist()]
    total = sum(rows for _, _, rows in chosen)
    keep = rows_of(log.window, share)
    tables: list[pa.Table] = []
    for number, (place, group, rows) in enumerate(chosen):
        table = files[place].read_row_group(group)
        table = table.filter(keep.keep(table))
        # rounded up: of many small groups each gives a row at least
        quota = -(-most * rows // total)
        tables.append(table.take(pa.array(spread(table.num_rows, quota, _seed(log, number)))))
    if not tables:
        return WindowRows(pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    table = merged(tables).sort_by("at")
    table = table.take(pa.array(spread(table.num_rows, most, _seed(log, -1))))
    return WindowRows(*(part(table, role) for role in (META, INPUT, OUTPUT)))


def _named(schema: pa.Schema, role: bytes) -> list[str]:
    return [one.name for one in schema if (one.metadata or {}).get(ROLE) == role and NAME in one.metadata]


def _seed(log: WindowLog, number: int) -> int:
    told = f"{log.model} {log.version} {log.window} {number}"
    return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big")
