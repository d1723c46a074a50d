"""What a drift check is and says: window, verdict, per-column results. How it is computed lives in `drift/`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlflow_ext.domain.root_cause import RootCause

_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0


class DriftVerdict(StrEnum):
    """The three answers of a check. Too few rows is `inconclusive`, never `ok`."""

    OK = "ok"
    DRIFT = "drift"
    INCONCLUSIVE = "inconclusive"


class CheckKind(StrEnum):
    """What a check is about: what comes in against what was trained on over time (`data`), or at a version's beginning.

    `skew` is the same comparison, once a version: whether what it is (or will be) asked is what it was trained on.
    """

    DATA = "data"
    SKEW = "skew"


class CheckState(StrEnum):
    """Where a check is: wanted, in work, computed but not yet in MLflow, being delivered, in MLflow, given up.

    A check in MLflow whose rows got more labels is measured anew: `labelled`, `measuring`, and computed again.
    """

    DUE = "due"
    RUNNING = "running"
    COMPUTED = "computed"
    DELIVERING = "delivering"
    LABELLED = "labelled"
    MEASURING = "measuring"
    DONE = "done"
    FAILED = "failed"


PICTURE = "drift.png"
"""Name of the picture among the artifacts of a check's run."""
OPEN_CHECKS = frozenset(CheckState) - {CheckState.DONE, CheckState.FAILED}


@dataclass(frozen=True, slots=True)
class Window:
    """A span of received predictions: `since` is in, `until` is out. Both carry a time zone."""

    since: datetime
    until: datetime

    def __str__(self) -> str:
        """Give both ends as ISO 8601."""
        return f"{self.since.isoformat(timespec='seconds')}/{self.until.isoformat(timespec='seconds')}"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column of one check.

    Attributes:
        column: Name in the model's signature, or `prediction`.
        kind: `data` (an input) or `prediction` (an output).
        method: What decided: `ks`, `chi_square` …, `missing_share`; or `not_compared`.
        score: Size of the difference, 0 to 1 (largest difference of distribution functions, total variation, change of
            the missing share); `None` when the column was not compared.
        threshold: Smallest difference that can be drift.
        drifted: Whether the difference is as large, and sure enough.
        note: Why the column was not compared, or what else is to say.
        p_value: Chance of such a difference without drift, corrected for the number of columns.
        measures: Every method's number, by its name.
        weight: What an input weighs in the share of drifted columns; `None` where it is not compared.
    """

    column: str
    kind: str
    method: str
    score: float | None
    threshold: float | None
    drifted: bool
    note: str = ""
    p_value: float | None = None
    measures: dict[str, float] = field(default_factory=dict)
    weight: float | None = None

    @property
    def compared(self) -> bool:
        """Whether the column counts."""
        return self.score is not None


@dataclass(frozen=True, slots=True)
class SliceReport:
    """One slice that policy names: its rows of the window beside its rows of the reference.

    Attributes:
        column: Input whose values are slices.
        value: Which rows: a value, or a range in words.
        low: Lower end of a range, out; `None` where there is none.
        high: Upper end of a range, in; `None` where there is none.
        verdict: The answer about these rows.
        reason: One sentence for people.
        window_rows: Its rows in the window's sample.
        reference_rows: Its rows in the reference's sample.
        drift_share: Weighted share of compared input columns that drifted in it, 0 to 1.
        columns: One entry a column.
        performance: Realised metrics over its rows with feedback, by name.
    """

    column: str
    value: str
    low: float | None = None
    high: float | None = None
    verdict: DriftVerdict = DriftVerdict.INCONCLUSIVE
    reason: str = ""
    window_rows: int = 0
    reference_rows: int = 0
    drift_share: float | None = None
    columns: tuple[ColumnDrift, ...] = ()
    performance: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name it for people."""
        ranged = self.low is not None or self.high is not None
        return f"{self.column} {self.value}" if ranged else f"{self.column} = {self.value}"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SliceReport":
        """Read what a report's `as_dict` gave."""
        columns = tuple(ColumnDrift(**one) for one in data["columns"])
        return cls(**{**data, "verdict": DriftVerdict(data["verdict"]), "columns": columns})


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One check of one model version over one window.

    Attributes:
        model: Registered model.
        version: Version whose predictions were checked; `None` when no version was served.
        window: Which predictions.
        verdict: The answer.
        reason: One sentence for people.
        window_rows: Number of logged rows of the window that were compared.
        received_rows: Estimated number of rows received in it; more where only a share was logged.
        reference_rows: Number of rows of the reference.
        columns: One entry a column.
        drift_share: Weighted share of compared input columns that drifted, 0 to 1.
        performance: Realised metrics over rows with feedback, by name; empty without feedback.
        found_drift: Whether this window alone drifted; the verdict may want more windows.
        evidently: What Evidently says by its own rules about a sample, by name; empty when it was not asked.
        evaluation: How often performance was measured anew since, as labels came.
        performance_verdict: Whether a realised metric is beyond the policy's bound: `drift`, `ok`, or `inconclusive`
            while labels are too few; `None` where the policy gives no bound.
        performance_reason: Why, in one sentence.
        estimated: Performance expected without labels, by name, each with its interval `<name>_low`, `<name>_high`.
        estimate_note: Why there is none.
        run_id: MLflow run that holds metrics and report.
        root_cause: Why it drifted; `None` unless the verdict is drift.
        weights_note: What the inputs weigh, and who says so; empty when nothing was compared.
        kind: What the check is about.
        rows_version: Version that the window's rows were asked of, where it is another one than `version`.
        slices: The slices that policy names.
    """

    model: str
    version: int | None
    window: Window
    verdict: DriftVerdict
    reason: str
    window_rows: int = 0
    reference_rows: int = 0
    columns: tuple[ColumnDrift, ...] = ()
    drift_share: float | None = None
    performance: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None
    received_rows: int | None = None
    found_drift: bool = False
    evidently: dict[str, float] = field(default_factory=dict)
    evaluation: int = 0
    performance_verdict: DriftVerdict | None = None
    performance_reason: str = ""
    estimated: dict[str, float] = field(default_factory=dict)
    estimate_note: str = ""
    root_cause: RootCause | None = None
    weights_note: str = ""
    kind: CheckKind = CheckKind.DATA
    rows_version: int | None = None
    slices: tuple[SliceReport, ...] = ()

    @property
    def estimate_errors(self) -> dict[str, float]:
        """How far realised metrics are from what was expected of them, by name; empty before labels come."""
        both = self.estimated.keys() & self.performance.keys()
        return {name: self.performance[name] - self.estimated[name] for name in sorted(both)}

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form, times as ISO 8601."""
        data = asdict(self)
        data["window"] = {"since": self.window.since.isoformat(), "until": self.window.until.isoformat()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "DriftReport":
        """Read what `as_dict` gave."""
        since, until = (datetime.fromisoformat(data["window"][end]) for end in ("since", "until"))
        columns = tuple(ColumnDrift(**column) for column in data["columns"])
        judged = data.get("performance_verdict")
        cause = data.get("root_cause")
        return cls(
            **{
                **data,
                "window": Window(since, until),
                "verdict": DriftVerdict(data["verdict"]),
                "columns": columns,
                "slices": tuple(SliceReport.from_dict(one) for one in data.get("slices", ())),
                "kind": CheckKind(data.get("kind", CheckKind.DATA)),
                "performance_verdict": None if judged is None else DriftVerdict(judged),
                "root_cause": None if cause is None else RootCause.from_dict(cause),
            }
        )


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """One slot of one schedule: which window of which model is to be checked, and what came of it.

    Attributes:
        id: Number of the check.
        model: Registered model.
        version: Version to check; `None` means the one in Production when the check runs.
        schedule: `drift:MODEL` or `manual:MODEL`; of skew `skew:MODEL:VERSION:…`.
        slot: When it was due; unique within the schedule.
        window: Which predictions.
        state: Where it is.
        attempt: How often it was begun; the fence of its lease.
        report: The answer, once computed.
        run_id: MLflow run, once delivered.
        error: Why the last attempt failed.
        finished_at: When it was computed or given up.
        evaluation: How often performance was measured anew since, as labels came.
        evaluated_at: When that was last; `None` for never.
        kind: What it is about.
        rows_version: Version whose rows are looked at, where it is another one than `version`.
    """

    id: int
    model: str
    version: int | None
    schedule: str
    slot: datetime
    window: Window
    state: CheckState
    attempt: int
    report: DriftReport | None = None
    run_id: str | None = None
    error: str | None = None
    finished_at: datetime | None = None
    evaluation: int = 0
    evaluated_at: datetime | None = None
    kind: CheckKind = CheckKind.DATA
    rows_version: int | None = None

    @property
    def key(self) -> str:
        """Name of the slot, as the MLflow run's tag carries it: the same after every retry."""
        return f"{self.schedule}@{self.slot.isoformat()}"

    @property
    def retry_after_s(self) -> float:
        """Seconds to wait before what could not be done is tried again: longer each time, a minute at most.

        Workers that died on it count as attempts, too, but say nothing about who does not answer now.
        """
        if self.error is None:
            return _FIRST_WAIT_S
        return min(2.0 ** min(self.attempt, 10), _LONGEST_WAIT_S)


@dataclass(frozen=True, slots=True)
class Monitor:
    """A model that is watched: when, and how much each look takes in.

    Attributes:
        model: Registered model.
        cron: Cron text.
        timezone: IANA name in which it is read.
        window_s: Seconds of predictions, ending at the slot.
        catch_up: `coalesce` or `all` of the slots that nobody was there for.
    """

    model: str
    cron: str
    timezone: str
    window_s: float
    catch_up: str = "coalesce"

    @property
    def schedule(self) -> str:
        """Name of the schedule."""
        return f"drift:{self.model}"
