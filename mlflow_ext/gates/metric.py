"""The metric gate: an absolute threshold, and how much better than the champion on the same rows.

The words are those of MLflow's MetricThreshold (https://mlflow.org/docs/latest/ml/evaluation/model-eval/). Unlike
there, a change may be negative ("at most this much worse"), and equality is enough.
"""

import math
from dataclasses import dataclass

from mlflow_ext.domain.gates import Evidence, GateResult, Verdict
from mlflow_ext.policy import MetricGatePolicy

_ROUNDING = 1e-12
"""0.70 + 0.02 is a little more than 0.72 in floating point; that much is not a failure."""


@dataclass(frozen=True, slots=True)
class _Bound:
    value: float
    words: str


def judge_metric(policy: MetricGatePolicy, evidence: Evidence) -> GateResult:
    """Judge one metric.

    Returns:
        `passed` when every bound is reached; `failed` when one is missed; `inconclusive` when a value is not a number;
        `error` when the metric, or the champion's side of it, was not measured.
    """
    name = _name(policy)
    measured = evidence.candidate.get(policy.metric)
    champion = None if evidence.champion is None else evidence.champion.get(policy.metric)

    def result(verdict: Verdict, reason: str, bound: float | None = None) -> GateResult:
        return GateResult(
            gate=policy.gate,
            name=name,
            verdict=verdict,
            reason=reason,
            measured=_number(measured),
            bound=_number(bound),
            champion=_number(champion),
            sample_size=evidence.rows,
        )

    if measured is None:
        return result(Verdict.ERROR, _missing(policy.metric, evidence.candidate, "the candidate"))
    if math.isnan(measured):
        return result(Verdict.INCONCLUSIVE, f"{policy.metric} is not a number on these {evidence.rows} rows")
    bounds = [] if policy.threshold is None else [_Bound(policy.threshold, "the threshold")]
    compares = policy.min_absolute_change is not None or policy.min_relative_change is not None
    note = ""
    if compares and evidence.champion_version is None:
        note = "; there is no version in Production to compare with"
    elif compares and evidence.champion is None:
        return result(
            Verdict.ERROR,
            f"version {evidence.champion_version} in Production could not be measured: {evidence.champion_error}",
        )
    elif compares and champion is None:
        return result(Verdict.ERROR, _missing(policy.metric, evidence.champion or {}, "the version in Production"))
    elif compares and champion is not None:
        if not math.isfinite(champion):
            return result(Verdict.INCONCLUSIVE, f"{policy.metric} of the version in Production is not a finite number")
        bounds += _change_bounds(policy, champion, evidence.champion_version)
    if not bounds:
        return result(Verdict.PASSED, f"{policy.metric} is {_show(measured)}{note}")
    strictest = (max if policy.greater_is_better else min)(bounds, key=lambda bound: bound.value)
    reached = _reaches(measured, strictest.value, greater_is_better=policy.greater_is_better)
    must = "at least" if policy.greater_is_better else "at most"
    reason = (
        f"{policy.metric} is {_show(measured)} and must be {must} {_show(strictest.value)} ({strictest.words}){note}"
    )
    return result(Verdict.PASSED if reached else Verdict.FAILED, reason, strictest.value)


def _change_bounds(policy: MetricGatePolicy, champion: float, version: int | None) -> list[_Bound]:
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


def _name(policy: MetricGatePolicy) -> str:
    sign = "≥" if policy.greater_is_better else "≤"
    parts = [] if policy.threshold is None else [f"{sign} {policy.threshold:g}"]
    if policy.min_absolute_change is not None:
        parts.append(f"better than Production by {policy.min_absolute_change:+g}")
    if policy.min_relative_change is not None:
        parts.append(f"better than Production by {policy.min_relative_change:+.2%}")
    return f"{policy.metric} {' and '.join(parts)}"


def _missing(metric: str, metrics: dict[str, float], whose: str) -> str:
    available = ", ".join(sorted(metrics)) or "none"
    return f"{metric} was not measured for {whose}; available metrics: {available}"


def _number(value: float | None) -> float | None:
    """Keep what JSON and MLflow can hold."""
    return value if value is not None and math.isfinite(value) else None


def _show(value: float) -> str:
    return f"{value:.6g}"
