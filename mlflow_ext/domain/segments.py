"""A segment: one Parquet file of logged predictions, as the index knows it. Writing and reading live in `drift/`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Segment:
    """One indexed file.

    Attributes:
        model: Registered model.
        version: Version that answered.
        hour: Hour in which the requests came, as its beginning, in UTC.
        uri: Path or fsspec URL.
        rows: Number of rows.
        size_bytes: Size of the file.
        first_at: Time of the first row.
        last_at: Time of the last row.
        workspace: MLflow workspace.
    """

    model: str
    version: int
    hour: datetime
    uri: str
    rows: int
    size_bytes: int
    first_at: datetime
    last_at: datetime
    workspace: str = "default"
