"""Logged requests on their way into the evaluation process: three Parquet files in its scratch directory."""

from pathlib import Path

import pandas as pd

from mlflow_ext.errors import MissingEvidenceError
from mlflow_ext.gate_context import LoggedRequests


def write_requests(requests: LoggedRequests, into: Path) -> dict[str, str]:
    """Write them; gives what `read_requests` takes, ready for JSON."""
    files = {}
    for name in ("meta", "inputs", "answers"):
        file = into / f"requests-{name}.parquet"
        getattr(requests, name).to_parquet(file, index=False)
        files[name] = str(file)
    return files


def read_requests(files: dict[str, str]) -> LoggedRequests:
    """Read them.

    Raises:
        MissingEvidenceError: There were none to write.
    """
    if "missing" in files:
        raise MissingEvidenceError(files["missing"])
    return LoggedRequests(**{name: pd.read_parquet(file) for name, file in files.items()})
