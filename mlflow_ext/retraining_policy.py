"""The part `retraining` of a policy: what a retraining runs, what asks for one, what keeps one from starting."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.retraining_brakes import Limits
from mlflow_ext.policy_section import Cron, Section, TimeZone


class MetricBound(Section):
    """Where a realised metric is bad.

    Attributes:
        below: It is bad below this.
        above: It is bad above this.
        minimum_rows: Labelled rows without which it says nothing.
    """

    below: float | None = None
    above: float | None = None
    minimum_rows: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _one_bound_at_least(self) -> "MetricBound":
        if self.below is None and self.above is None:
            raise ValueError("give below or above")
        return self

    def broken_by(self, value: float) -> str | None:
        """Say how a value is bad; `None` when it is not."""
        if self.below is not None and value < self.below:
            return f"below {self.below:g}"
        if self.above is not None and value > self.above:
            return f"above {self.above:g}"
        return None


class RetrainingTriggers(Section):
    """What asks for a retraining by itself.

    Attributes:
        drift: A drift check with the verdict `drift`.
        metrics: Realised metrics of drift checks, by name, and where they are bad.
        new_rows: So many logged rows since the window of the last retraining.
        cron: Times, as cron text.
        timezone: Time zone of `cron`.
    """

    drift: bool = True
    metrics: dict[str, MetricBound] = Field(default_factory=dict)
    new_rows: int | None = Field(default=None, ge=1)
    cron: Cron | None = None
    timezone: TimeZone = "UTC"


class RetrainingPolicy(Section):
    """What a retraining runs, what starts one, and what keeps one from starting.

    Attributes:
        project: MLflow Project: path or git URI, with `#subdirectory`; `None` switches retraining off.
        version: Commit or branch of a git project.
        entry_point: Entry point of the project.
        parameters: Passed to it besides the trigger's own (`window_since`, `window_until`, where it takes them).
        env_manager: As in `mlflow run`.
        backend: As in `mlflow run`.
        backend_config: As in `mlflow run`: a JSON file.
        triggers: What asks for a retraining.
        window_s: Seconds before now whose rows a retraining by cron or by hand learns from.
        history_rows: So many rows of the served version's own reference are added to the recent ones.
        recent_weight: Weight of a recent row beside one of history, in the column `sample_weight`; 1 writes none.
        cooldown_s: Seconds after a retraining in which no other starts by itself.
        weekly_budget: Most retrainings that start in seven days.
        halt_after: So many in a row that the world answers by drifting again halt it until a person resumes; 0 never.
        settle_s: Drift within so many seconds after a retraining counts as such an answer.
    """

    project: str | None = None
    version: str | None = None
    entry_point: str = "retrain"
    parameters: dict[str, str | int | float] = Field(default_factory=dict)
    env_manager: Literal["local", "virtualenv", "uv", "conda"] = "local"
    backend: str = "local"
    backend_config: str | None = None
    triggers: RetrainingTriggers = RetrainingTriggers()
    window_s: float = Field(default=604_800.0, gt=0)
    history_rows: int = Field(default=0, ge=0)
    recent_weight: float = Field(default=1.0, gt=0)
    cooldown_s: float = Field(default=3_600.0, ge=0)
    weekly_budget: int = Field(default=7, ge=1)
    halt_after: int = Field(default=3, ge=0)
    settle_s: float = Field(default=172_800.0, ge=0)

    @property
    def limits(self) -> Limits:
        """What keeps a retraining from starting."""
        return Limits(
            cooldown=timedelta(seconds=self.cooldown_s),
            weekly_budget=self.weekly_budget,
            halt_after=self.halt_after,
            settle=timedelta(seconds=self.settle_s),
        )
