"""Predictions without a model server: records in a spool, and a compactor that makes segments of them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from drift.compactor import Compactor
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.spool import PredictionRecord, SpoolWriter
from mlflow_ext.store.segments import Segments

SINCE = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def compactor_in(
    directory: Path, engine: Engine, root: str | None = None, columns: Mapping[int, ModelColumns] | None = None
) -> Compactor:
    """A compactor of a directory; versions that `columns` does not name have no signature."""
    known = columns or {}
    return Compactor(
        index=Segments(engine),
        spool_dir=directory / "spool",
        root=root or str(directory / "segments"),
        quarantine_dir=directory / "quarantine",
        columns_of=lambda _model, version: known.get(version, ModelColumns()),
    )


def answered(
    request_id: str,
    row: Mapping[str, Any],
    *,
    version: int = 1,
    model: str = "m",
    at: datetime = SINCE,
    answer: Any = 1,
) -> PredictionRecord:
    """One answered request with one row."""
    return PredictionRecord(
        request_id=request_id,
        model=model,
        version=version,
        at=at,
        latency_us=700,
        content_type="application/json",
        request=json.dumps({"dataframe_records": [row]}).encode(),
        response=json.dumps({"predictions": [answer]}).encode(),
    )


def fill(compactor: Compactor, *records: PredictionRecord) -> None:
    """Write records to a spool file of their own."""
    writer = SpoolWriter(compactor.spool_dir)
    for one in records:
        writer.append(one)
    writer.close()
