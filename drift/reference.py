"""The reference's rows, as the policy names them: read once, for the profile and the sample that stand for them then.

Both are kept by `profiles.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import InvalidInputError

_PANDAS_INDEX = "__index_level_"


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """Rows, one column in memory at a time.

    Attributes:
        names: Their columns.
        rows: How many there are.
        column: Gives one column.
    """

    names: tuple[str, ...]
    rows: int
    column: Callable[[str], pa.ChunkedArray]

    def sample(self, most: int, seed: int) -> pa.Table:
        """Give at most so many rows, spread evenly over all of them: one drawn from each of as many equal parts."""
        places = pa.array(spread(self.rows, most, seed))
        return pa.table({name: self.column(name).take(places) for name in self.names})


@dataclass(frozen=True, slots=True)
class References:
    """Where reference rows come from.

    Attributes:
        fetch: Gives the local file that a policy's `reference` names for a version.
    """

    fetch: Callable[[ModelVersion, str], Path]

    def open(self, version: ModelVersion, source: str) -> ReferenceRows:
        """Open the reference of a version.

        Raises:
            NotFoundError: There is none; the message says what to log.
            InvalidInputError: The file is neither Parquet nor CSV, or has no rows.
            UnavailableError: MLflow or the storage does not answer.
        """
        path = self.fetch(version, source)
        try:
            found = _csv(path) if path.suffix == ".csv" else _parquet(path)
        except (ValueError, pa.ArrowException, OSError) as exc:
            raise InvalidInputError(
                f"the reference {source} of {version.model} version {version.version} cannot be read: {exc}; "
                "log a Parquet or CSV file with the feature columns and `prediction`"
            ) from exc
        if not found.rows:
            raise InvalidInputError(f"the reference {source} of {version.model} version {version.version} has no rows")
        return found

    def read(self, version: ModelVersion, source: str) -> pd.DataFrame:
        """Read all rows of the reference of a version, for what needs rows and not what is known of them.

        Raises:
            NotFoundError, InvalidInputError, UnavailableError: See `open`.
        """
        rows = self.open(version, source)
        found: pd.DataFrame = pa.table({name: rows.column(name) for name in rows.names}).to_pandas()
        return found


def spread(rows: int, most: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Draw one place from each of `most` equal parts of `rows` places; all places where there are no more."""
    if rows <= most:
        return np.arange(rows)
    drawn = (np.arange(most) + np.random.default_rng(seed).random(most)) * rows / most
    return drawn.astype(np.int64)


def _parquet(path: Path) -> ReferenceRows:
    file = pq.ParquetFile(path)
    names = tuple(name for name in file.schema_arrow.names if not name.startswith(_PANDAS_INDEX))
    return ReferenceRows(names, file.metadata.num_rows, lambda name: file.read(columns=[name]).column(0))


def _csv(path: Path) -> ReferenceRows:
    table = pa.Table.from_pandas(pd.read_csv(path), preserve_index=False)
    return ReferenceRows(tuple(table.column_names), table.num_rows, table.column)
