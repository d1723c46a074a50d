"""How a segment's Parquet file is read: its columns know whether they are ours, an input or an output.

Writing segments, and reading them by window, is in `drift/`; which files there are says `segments.py`, where they are
`segment_storage.py`.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.segment_storage import located

ROLE, NAME = b"mlflow_ext.role", b"mlflow_ext.name"
META, INPUT, OUTPUT = b"meta", b"input", b"output"

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
