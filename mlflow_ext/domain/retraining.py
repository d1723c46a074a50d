"""A retraining: what started which run of a project, or why nothing did. Running it lives in `drift/`.

When one may start is decided in `retraining_brakes.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RetrainingState(StrEnum):
    """Where a retraining is."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Trigger(StrEnum):
    """What asks for a retraining."""

    DRIFT = "drift"
    METRIC = "metric"
    ROWS = "rows"
    CRON = "cron"
    MANUAL = "manual"


class HoldKind(StrEnum):
    """Why a model's retraining is held: a person wants it so, or it led nowhere and a person has to look."""

    PERSON = "person"
    FLAPPING = "flapping"


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
        trigger: What asked for it.
        cause: The same in a few words.
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
    trigger: Trigger
    cause: str
    since: datetime | None
    until: datetime | None
    attempt: int
    run_id: str | None
    version: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A model's retraining is held until somebody resumes it.

    Attributes:
        model: Registered model.
        kind: Why.
        actor: Who held it.
        reason: In words.
        at: Since when.
    """

    model: str
    kind: HoldKind
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What a trigger led to.

    Attributes:
        model: Registered model.
        trigger: What asked.
        key: Which of its occasions: `check 7`, a slot, …
        cause: The occasion in words.
        retraining_id: The retraining that was opened; `None` when none was.
        refusal: Why none was; empty when one was.
        at: When it was decided.
    """

    model: str
    trigger: Trigger
    key: str
    cause: str
    retraining_id: int | None
    refusal: str
    at: datetime

    def __str__(self) -> str:
        """Say it in a line."""
        return f"none: {self.refusal}" if self.retraining_id is None else f"opened retraining {self.retraining_id}"
