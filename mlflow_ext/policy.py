"""What may become Production and how it is watched: the per-model sections of `mlflow-ext.yaml`, validated.

Settings that differ between machines (addresses, directories, secrets) live in `config.py`.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator


def _cron(text: str) -> str:
    if not croniter.is_valid(text):
        raise ValueError("not a cron expression; five fields, such as '0 6 * * *', or six with seconds last")
    return text


Cron = Annotated[str, AfterValidator(_cron)]


class Section(BaseModel):
    """A part of a policy: unknown keys are mistakes, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationPolicy(Section):
    """Which rows the gates measure on.

    Attributes:
        data: Where the rows are (Parquet or CSV): `artifact:PATH` inside the candidate's MLflow run, or a path or URI.
        target: Name of the column with the ground truth.
        model_type: MLflow's model type: `classifier` or `regressor`.
        timeout_s: Seconds after which an evaluation is ended.
    """

    data: str = "artifact:data/evaluation.parquet"
    target: str = "target"
    model_type: Literal["classifier", "regressor"] = "classifier"
    timeout_s: float = Field(default=600.0, gt=0)


class MetricGatePolicy(Section):
    """A metric gate, in the words of MLflow's MetricThreshold.

    Attributes:
        gate: `metric`.
        metric: Metric name as `mlflow.models.evaluate` gives it (`roc_auc`, `f1_score`, `root_mean_squared_error` …).
        threshold: The candidate must reach it (at least, or at most where lower is better).
        min_absolute_change: How much better than Production on the same rows, in the metric's unit; may be negative.
        min_relative_change: How much better than Production, as a share of its value; may be negative.
        greater_is_better: Which direction is better.
    """

    gate: Literal["metric"] = "metric"
    metric: str
    threshold: float | None = None
    min_absolute_change: float | None = None
    min_relative_change: float | None = None
    greater_is_better: bool = True

    @model_validator(mode="after")
    def _has_a_bound(self) -> "MetricGatePolicy":
        if self.threshold is None and self.min_absolute_change is None and self.min_relative_change is None:
            raise ValueError("a metric gate needs threshold, min_absolute_change or min_relative_change")
        return self


class ServingPolicy(Section):
    """How a model is served.

    Attributes:
        keep_previous_s: Seconds that the former Production version stays loaded after a flip.
        trust: `types`: only models without pickle and without code of their own; `code`: the publisher is trusted.
    """

    keep_previous_s: float = Field(default=600.0, ge=0)
    trust: Literal["types", "code"] = "types"


class DriftPolicy(Section):
    """How a model is watched.

    Attributes:
        schedule: Cron text; `None` means that only `mlflow-ext drift run` checks.
        timezone: IANA name in which the cron text is read.
        window_s: Seconds of predictions that one scheduled check looks at, ending at its slot.
        reference: Rows compared with: `artifact:PATH` inside the served version's MLflow run, or a path or URI.
        minimum_rows: Fewer rows in the window make the check inconclusive.
        drift_share: Share of input columns that must drift for the verdict drift.
        sample_rows: At most this many rows of each side go to Evidently (seeded sample).
        ignore: Columns left out.
    """

    schedule: Cron | None = None
    timezone: str = "UTC"
    window_s: float = Field(default=86_400.0, gt=0)
    reference: str = "artifact:data/reference.parquet"
    minimum_rows: int = Field(default=200, ge=1)
    drift_share: float = Field(default=0.3, gt=0, le=1)
    sample_rows: int = Field(default=20_000, ge=100)
    ignore: tuple[str, ...] = ()


class RetrainingPolicy(Section):
    """What a drift alert starts.

    Attributes:
        project: MLflow Project: path or git URI, with `#subdirectory`; `None` switches retraining off.
        version: Commit or branch of a git project.
        entry_point: Entry point of the project.
        parameters: Passed to it besides the trigger's own (`window_since`, `window_until`, where it takes them).
        env_manager: As in `mlflow run`.
        cooldown_s: Seconds after a retraining in which alerts start no other.
    """

    project: str | None = None
    version: str | None = None
    entry_point: str = "retrain"
    parameters: dict[str, str | int | float] = Field(default_factory=dict)
    env_manager: Literal["local", "virtualenv", "uv", "conda"] = "local"
    cooldown_s: float = Field(default=3_600.0, ge=0)


class GovernancePolicy(Section):
    """Who must agree. The guard and approvals build on this section."""

    guard: Literal["off", "warn", "enforce"] = "warn"


class ModelPolicy(Section):
    """Everything the platform may do with one registered model."""

    evaluation: EvaluationPolicy = EvaluationPolicy()
    gates: tuple[MetricGatePolicy, ...] = ()
    serving: ServingPolicy = ServingPolicy()
    drift: DriftPolicy = DriftPolicy()
    retraining: RetrainingPolicy = RetrainingPolicy()
    governance: GovernancePolicy = GovernancePolicy()

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON form; a promotion records it."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()


_DOCUMENT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def merge(defaults: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Lay a model's sections over the defaults, key by key; lists are replaced, not joined."""
    merged = dict(defaults)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return _DOCUMENT.validate_python(merged)
