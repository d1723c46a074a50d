"""How a segment's Parquet file is read: its columns know whether they are ours, an input or an output.

Writing segments, and reading them by window, is in `drift/`; which files there are says `segments.py`, where they are
`segment_storage.py`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.segment_storage import located

ROLE, NAME = b"mlflow_ext.role", b"mlflow_ext.name"
META, INPUT, OUTPUT = b"meta", b"input", b"output"

MOST_GROUP_BYTES = 256 * 1024**2
_TRIES = 3
T = TypeVar("T")


def reading(segments: Callable[[], list[Segment]], read: Callable[[list[Segment]], T]) -> T:
    """Read segments, and look again when one of them was merged into another meanwhile.

    Raises:
        UnavailableError: That happened too often.
    """
    for _ in range(_TRIES):
        found = segments()
        try:
            return read(found)
        except FileNotFoundError:
            # merged between the look at the index and now: the index already names the new file
            continue
    raise UnavailableError(f"segments of {found[0].model} are gone although the index names them")


def read_segment(uri: str) -> pa.Table:
    """Read a whole file.

    Raises:
        FileNotFoundError: It was merged into another meanwhile, and is gone.
        UnavailableError: It cannot be read.
    """
    try:
        system, path = located(uri)
        with system.open_input_file(path) as file:
            return pq.read_table(file)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as exc:
        raise UnavailableError(f"segment {uri} cannot be read: {exc}") from exc


def read_newest(uri: str, rows: int) -> pa.Table:
    """Read the newest rows that clients were answered for, newest first, from the file's newest row group alone.

    Shadow arms answered no client. One row group bounds what is read, however large the file is.

    Raises:
        FileNotFoundError: It was merged into another meanwhile, and is gone.
        UnavailableError: It cannot be read, or its row group is too large.
    """
    try:
        system, path = located(uri)
        with system.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            groups = parquet.metadata.num_row_groups
            if groups == 0:
                return parquet.schema_arrow.empty_table()
            newest = max(range(groups), key=lambda group: (_last(parquet.metadata, group), group))
            size = parquet.metadata.row_group(newest).total_byte_size
            if size > MOST_GROUP_BYTES:
                raise UnavailableError(f"segment {uri} has a row group of {size} bytes")
            table = parquet.read_row_group(newest, use_threads=False)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as exc:
        raise UnavailableError(f"segment {uri} cannot be read: {exc}") from exc
    table = table.filter(pc.equal(table.column("arm"), "champion"))
    order = [("at", "descending"), ("request_id", "ascending"), ("row", "ascending")]
    return table.take(pc.sort_indices(table.select([name for name, _ in order]), sort_keys=order)[:rows])


def _last(metadata: pq.FileMetaData, group: int) -> datetime:
    """Give the time of a row group's last row, as its statistics say it; the beginning of time where they do not."""
    columns = metadata.row_group(group)
    for number in range(columns.num_columns):
        column = columns.column(number)
        if column.path_in_schema == "at" and column.is_stats_set and column.statistics.has_min_max:
            last: datetime = column.statistics.max
            return last
    return datetime.min.replace(tzinfo=UTC)


def open_segment(uri: str) -> str | BytesIO:
    """Give a file as `ParquetFile` takes it: the path of a local one, the content of another.

    Raises:
        FileNotFoundError: It was merged into another meanwhile, and is gone.
        UnavailableError: It cannot be read.
    """
    try:
        system, path = located(uri)
        if isinstance(system, fs.LocalFileSystem):
            # whoever opens the path looks at the file itself: here it is known to be there
            Path(path).stat()
            return path
        # once whole: columns are read one by one, which would be as many requests
        with system.open_input_file(path) as file:
            return BytesIO(file.read())
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UnavailableError(f"segment {uri} cannot be read: {exc}") from exc


def part(table: pa.Table, role: bytes) -> pd.DataFrame:
    """Take the columns of one role, under the names that they have for users."""
    chosen: dict[str, Any] = {}
    for one in table.schema:
        if (one.metadata or {}).get(ROLE) == role:
            chosen[one.metadata[NAME].decode()] = table.column(one.name).to_pandas()
    return pd.DataFrame(chosen)
