"""An alert: what somebody should know about a model. How it travels lives in `drift/alerts.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        id: Number of the alert; the same in every delivery of it.
        model: Registered model.
        version: Version concerned.
        check_id: Drift check that raised it.
        severity: `warning` or `critical`.
        message: One sentence for people.
        details: The report behind it, JSON-ready.
        attempts: Deliveries tried so far.
        created_at: When it was raised.
    """

    id: int
    model: str
    version: int | None
    check_id: int | None
    severity: str
    message: str
    attempts: int
    created_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
