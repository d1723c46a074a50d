"""What a drift check says: verdict, per-column results, report. How it is computed lives in `drift/`."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class DriftVerdict(StrEnum):
    """The three answers of a check. Too few rows is `inconclusive`, never `ok`."""

    OK = "ok"
    DRIFT = "drift"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of received predictions: `since` is in, `until` is out. Both carry a time zone."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column of one check.

    Attributes:
        column: Name in the model's signature, or `prediction`.
        kind: `data` (an input) or `prediction` (an output).
        method: Statistical method (`Wasserstein distance (normed)`, `chi-square p_value` …).
        score: The method's number, in its own unit.
        threshold: Where the method's number becomes drift.
        drifted: Whether it did.
    """

    column: str
    kind: str
    method: str
    score: float | None
    threshold: float | None
    drifted: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One check of one model version over one window.

    Attributes:
        model: Registered model.
        version: Version whose predictions were checked.
        window: Which predictions.
        verdict: The answer.
        reason: One sentence for people.
        window_rows: Number of rows received in the window.
        reference_rows: Number of rows of the reference.
        columns: One entry a column.
        drift_share: Share of input columns that drifted, 0 to 1.
        performance: Realised metrics over rows with feedback, by name; empty without feedback.
        run_id: MLflow run that holds metrics and report.
    """

    model: str
    version: int
    window: Window
    verdict: DriftVerdict
    reason: str
    window_rows: int
    reference_rows: int
    columns: tuple[ColumnDrift, ...] = ()
    drift_share: float | None = None
    performance: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form, times as ISO 8601."""
        data = asdict(self)
        data["window"] = {"since": self.window.since.isoformat(), "until": self.window.until.isoformat()}
        return data
