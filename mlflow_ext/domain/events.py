"""Registry events: what moved in MLflow's registry, as the triggers saw it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

AGREEMENT_SETTING = "mlflow_ext.agreement"
"""Setting of a transaction that brings marks into agreement: our registry store sets it, the trigger reads it."""


class RegistryEventKind(StrEnum):
    """Which mark, or the version itself, changed."""

    VERSION = "version"
    STAGE = "stage"
    ALIAS = "alias"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """One change of one row in MLflow's registry tables.

    Attributes:
        id: Position in the outbox; grows with time within a model.
        at: Database time of the change.
        model: Registered model.
        version: Version concerned.
        kind: What changed.
        key: Alias name or tag key; empty for stage and version.
        old: Former value (stage, tag value, or version an alias pointed at), `None` when there was none.
        new: New value, `None` when it was removed.
        workspace: MLflow workspace.
        ours: Written by the agreement of marks, so no person's word.
    """

    id: int
    at: datetime
    model: str
    version: int | None
    kind: RegistryEventKind
    key: str
    old: str | None
    new: str | None
    workspace: str = "default"
    ours: bool = False
