"""Who takes part: one living process of ours, as the others see it. How it is told lives in `store/replicas.py`."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What a process does."""

    SCORING = "scoring"
    PROMOTION = "promotion"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Replica:
    """One process, as it last described itself.

    Attributes:
        id: Unique among the living: host, pid and a random part.
        role: What it does.
        host: Machine it runs on.
        pid: Its process id there.
        url: Where it is reached; `None` when nothing listens.
        state: What it says about itself; scoring: `{model: {"version": 3, "generation": 7}}`.
        started_at: Database time of its announcement.
        heartbeat_at: Database time of its last sign of life.
        age_s: Seconds since then, by the database's clock at the time of reading.
    """

    id: str
    role: Role
    host: str
    pid: int
    url: str | None
    started_at: datetime
    heartbeat_at: datetime
    age_s: float
    state: dict[str, Any] = field(default_factory=dict)

    def serves(self, model: str) -> int | None:
        """Give the version of a model that a scoring process says it answers with."""
        told = self.state.get(model) if self.role is Role.SCORING else None
        return told.get("version") if told else None
