"""A retraining: which run of a project an alert started, and what came of it. Running it lives in `drift/`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RetrainingState(StrEnum):
    """Where a retraining is."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


RUN_TAG = "mlflow_ext.retraining"
"""Tag of the MLflow runs that a retraining started; its value is the retraining's number."""
TRIGGER_VARIABLE = "MLFLOW_EXT_RETRAINING_TRIGGER_ID"
"""Environment variable that tells a project's process which retraining it belongs to."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """One retraining.

    Attributes:
        id: Number of the retraining, also its trigger id.
        model: Registered model.
        state: Where it is.
        cause: What triggered it, in a few words.
        alert_id: Alert that triggered it.
        since: Beginning of the window whose rows it learns from.
        until: End of that window.
        attempt: How often it was begun; the fence of its lease.
        run_id: MLflow run that registered the version.
        version: Version that came of it.
        error: Why it failed.
        created_at: When it was triggered.
        finished_at: When it ended.
    """

    id: int
    model: str
    state: RetrainingState
    cause: str
    alert_id: int | None
    since: datetime | None
    until: datetime | None
    attempt: int
    run_id: str | None
    version: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
