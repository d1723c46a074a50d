"""The metric gate: an absolute threshold, and how much better than the champion on the same rows.

The words are those of MLflow's MetricThreshold (https://mlflow.org/docs/latest/ml/evaluation/model-eval/). Unlike
there, a change may be negative ("at most this much worse"), and equality is enough. Whether a difference is more than
chance is `better_than_champion`'s question.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from pydantic import model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gate_context import GateContext, JudgedVersion
from mlflow_ext.policy import GatePolicy

_ROUNDING = 1e-12
"""0.70 + 0.02 is a little more than 0.72 in floating point; that much is not a failure."""


class MetricPolicy(GatePolicy):
    """A metric gate, in the words of MLflow's MetricThreshold.

    Attributes:
        gate: `metric`.
        metric: Metric name as `mlflow.models.evaluate` gives it (`roc_auc`, `f1_score` …), or `module:function` for one
            of your own, called as scikit-learn's are: `function(target, prediction)`.
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
    def _has_a_bound(self) -> "MetricPolicy":
        if self.threshold is None and not self.compares:
            raise ValueError("a metric gate needs threshold, min_absolute_change or min_relative_change")
        return self

    @property
    def compares(self) -> bool:
        """Tell whether the version in Production is needed."""
        return self.min_absolute_change is not None or self.min_relative_change is not None

    @property
    def title(self) -> str:
        """The metric and its bounds."""
        sign = "≥" if self.greater_is_better else "≤"
        parts = [] if self.threshold is None else [f"{sign} {self.threshold:g}"]
        if self.min_absolute_change is not None:
            parts.append(f"better than Production by {self.min_absolute_change:+g}")
        if self.min_relative_change is not None:
            parts.append(f"better than Production by {self.min_relative_change:+.2%}")
        return f"{self.metric} {' and '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Bound:
    value: float
    words: str


class MetricGate:
    """`gate: metric`."""

    policy = MetricPolicy

    def judge(self, policy: MetricPolicy, context: GateContext) -> GateResult:
        """Judge one metric.

        Returns:
            `passed` when every bound is reached; `failed` when one is missed; `inconclusive` when a value is not a
            number; `error` when the metric, or the champion's side of it, was not measured.
        """
        measured = _value(policy.metric, context.candidate, context, "the candidate")
        champion = None if policy.compares else _shown_beside(policy.metric, context)

        def result(verdict: Verdict, reason: str, bound: float | None = None) -> GateResult:
            return GateResult(
                gate=policy.gate,
                name=policy.title,
                verdict=verdict,
                reason=reason,
                measured=measured,
                bound=bound,
                champion=champion,
                sample_size=len(context.rows),
            )

        if math.isnan(measured):
            return result(Verdict.INCONCLUSIVE, f"{policy.metric} is not a number on these {len(context.rows)} rows")
        bounds = [] if policy.threshold is None else [_Bound(policy.threshold, "the threshold")]
        note = ""
        if policy.compares:
            production = context.champion
            if production is None:
                note = "; there is no version in Production to compare with"
            else:
                champion = _value(policy.metric, production, context, "the version in Production")
                if not math.isfinite(champion):
                    return result(
                        Verdict.INCONCLUSIVE, f"{policy.metric} of the version in Production is not a finite number"
                    )
                bounds += _change_bounds(policy, champion, production.version)
        if not bounds:
            return result(Verdict.PASSED, f"{policy.metric} is {_show(measured)}{note}")
        strictest = (max if policy.greater_is_better else min)(bounds, key=lambda bound: bound.value)
        reached = _reaches(measured, strictest.value, greater_is_better=policy.greater_is_better)
        must = "at least" if policy.greater_is_better else "at most"
        reason = (
            f"{policy.metric} is {_show(measured)} and must be {must} {_show(strictest.value)} "
            f"({strictest.words}){note}"
        )
        return result(Verdict.PASSED if reached else Verdict.FAILED, reason, strictest.value)


gate = MetricGate()


def _value(metric: str, side: JudgedVersion, context: GateContext, whose: str) -> float:
    if ":" in metric:
        return _own(metric, side, context, whose)
    if (value := side.metrics.get(metric)) is None:
        available = ", ".join(sorted(side.metrics)) or "none"
        raise EvaluationImpossibleError(f"{metric} was not measured for {whose}; available metrics: {available}")
    return value


def _shown_beside(metric: str, context: GateContext) -> float | None:
    """Give the champion's value where it decides nothing and is there for the asking."""
    try:
        return context.champion.metrics.get(metric) if context.champion else None
    except EvaluationImpossibleError:
        return None


def _own(path: str, side: JudgedVersion, context: GateContext, whose: str) -> float:
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise EvaluationImpossibleError(f"the metric {path} cannot be imported where gates run: {exc}") from exc
    target, prediction = context.rows[context.target].to_numpy(), side.predict(context.rows)
    try:
        return float(function(target, prediction))
    # a user's function may raise whatever it likes
    except Exception as exc:
        raise EvaluationImpossibleError(f"{path} failed for {whose}: {type(exc).__name__}: {exc}") from exc


def _change_bounds(policy: MetricPolicy, champion: float, version: int) -> list[_Bound]:
    sign = 1 if policy.greater_is_better else -1
    beside = f"version {version} in Production has {_show(champion)} on the same rows"
    bounds = []
    if (change := policy.min_absolute_change) is not None:
        bounds.append(_Bound(champion + sign * change, f"{beside}, change {change:+g}"))
    if (share := policy.min_relative_change) is not None:
        bounds.append(_Bound(champion + sign * share * abs(champion), f"{beside}, change {share:+.2%}"))
    return bounds


def _reaches(measured: float, bound: float, *, greater_is_better: bool) -> bool:
    if math.isclose(measured, bound, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
        return True
    return measured > bound if greater_is_better else measured < bound


def _show(value: float) -> str:
    return f"{value:.6g}"
