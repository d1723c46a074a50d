"""The reference: the rows that a version's predictions are compared with, read once per version and machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class References:
    """Where reference rows come from.

    Attributes:
        fetch: Gives the local file that a policy's `reference` names for a version.
    """

    fetch: Callable[[ModelVersion, str], Path]

    def read(self, version: ModelVersion, source: str) -> pd.DataFrame:
        """Read the reference of a version.

        Raises:
            NotFoundError: There is none; the message says what to log.
            InvalidInputError: The file is neither Parquet nor CSV, or has no rows.
            UnavailableError: MLflow or the storage does not answer.
        """
        path = self.fetch(version, source)
        try:
            rows = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        except (ValueError, pa.ArrowException, OSError) as exc:
            raise InvalidInputError(
                f"the reference {source} of {version.model} version {version.version} cannot be read: {exc}; "
                "log a Parquet or CSV file with the feature columns and `prediction`"
            ) from exc
        if rows.empty:
            raise InvalidInputError(f"the reference {source} of {version.model} version {version.version} has no rows")
        return rows
