"""What is served: the pointer that replicas follow. Loading and answering live in `serving/`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ServingPointer:
    """Which version of a model answers.

    Attributes:
        model: Registered model.
        version: Version in Production; `None` when nothing is.
        generation: Grows by one with every move; a move names the generation it saw (compare-and-set).
        previous_version: Version before the last move, kept loaded for return.
        moved_at: Database time of the last move.
        workspace: MLflow workspace.
    """

    model: str
    version: int | None
    generation: int
    previous_version: int | None = None
    moved_at: datetime | None = None
    workspace: str = "default"
