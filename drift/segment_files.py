"""Segments as Parquet files: written whole or not at all, read by window.

Which files there are is the index's business (`mlflow_ext/store/segments.py`), where they are that of
`mlflow_ext/store/segment_storage.py`; how one file is read says `mlflow_ext/store/segment_files.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drift.rows import AT, merged
from mlflow_ext.domain.drift import Window
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.segment_files import INPUT, META, OUTPUT, part, read_segment
from mlflow_ext.store.segment_storage import write_whole
from mlflow_ext.store.segments import Segments


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Predictions of one model version in one window, all three with the same rows.

    Attributes:
        meta: `request_id`, `row`, `at`, `arm`, `latency_us`, `share` (of the requests that were logged then).
        inputs: The inputs, by their names in the signature.
        outputs: `prediction`, or `prediction_…` for several.
    """

    meta: pd.DataFrame
    inputs: pd.DataFrame
    outputs: pd.DataFrame

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.meta)


def write_segment(uri: str, table: pa.Table) -> int:
    """Write a file; it is there whole or not at all, and on disk when this returns.

    Returns:
        Its size in bytes.

    Raises:
        UnavailableError: It cannot be written.
    """
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=65_536)
    content = buffer.getvalue()
    write_whole(uri, content)
    return len(content)


def read_window(index: Segments, model: str, version: int | None, window: Window) -> WindowRows:
    """Read the predictions of a model with `since <= at < until`, in order of time; of all versions for `None`.

    Raises:
        UnavailableError: A file, or the index, cannot be read.
    """
    for _ in range(3):
        found = index.find(model, version, window.since, window.until)
        try:
            tables = [read_segment(one.uri) for one in found]
        except FileNotFoundError:
            # merged between the look at the index and now: the index already names the new file
            continue
        return _window_rows(tables, window)
    raise UnavailableError(f"segments of {model} are gone although the index names them")


def _window_rows(tables: Sequence[pa.Table], window: Window) -> WindowRows:
    if not tables:
        empty = pd.DataFrame(columns=["request_id", "row", "at", "arm", "latency_us", "share"])
        return WindowRows(empty, pd.DataFrame(), pd.DataFrame())
    table = merged(tables)
    at = table.column("at")
    since, until = pa.scalar(window.since, AT), pa.scalar(window.until, AT)
    table = table.filter(pc.and_(pc.greater_equal(at, since), pc.less(at, until))).sort_by("at")
    return WindowRows(*(part(table, role) for role in (META, INPUT, OUTPUT)))
