"""Whether realised performance is beyond the policy's bounds. How it is measured: `performance.py`."""

from collections.abc import Mapping
from dataclasses import replace

from mlflow_ext.domain.drift import DriftReport, DriftVerdict
from mlflow_ext.retraining_policy import MetricBound


def judged(report: DriftReport, bounds: Mapping[str, MetricBound]) -> DriftReport:
    """Give a report with its verdict on performance.

    Args:
        report: With what was measured.
        bounds: Where each metric is bad; without any there is no verdict.

    Returns:
        The report: `drift` when a metric with enough labelled rows is beyond its bound; else `inconclusive` when one
        has too few, or was not measured; else `ok`.
    """
    if not bounds:
        return replace(report, performance_verdict=None, performance_reason="")
    rows = report.performance.get("labelled_rows", 0.0)
    bad: list[str] = []
    open_: list[str] = []
    for name, bound in bounds.items():
        value = report.performance.get(name)
        if rows < bound.minimum_rows:
            open_.append(f"{name}: {rows:.0f} labelled rows, {bound.minimum_rows} are needed")
        elif value is None:
            open_.append(f"{name} was not measured")
        elif said := bound.broken_by(value):
            bad.append(f"{name} {value:.4g} is {said}")
    verdict = DriftVerdict.DRIFT if bad else DriftVerdict.INCONCLUSIVE if open_ else DriftVerdict.OK
    share = report.performance.get("labelled_share", 0.0)
    reason = "; ".join(bad or open_) or "within its bounds"
    return replace(
        report, performance_verdict=verdict, performance_reason=f"{reason} ({share:.0%} of the rows labelled)"
    )
